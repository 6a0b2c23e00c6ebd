#ifndef KP_CLI_TALK_H
#define KP_CLI_TALK_H
/*
 * cli_talk.h - one talk in one chat: lines become messages, deliveries become lines.
 *
 *   cli_chat.c    `keep chat`: words, who is the host, lines
 *   cli_talk.c    the talk
 *   cli_remote.c  a host elsewhere
 *
 * Threads: cli_talk_post and cli_talk_settle belong to one thread; cli_talk_stop may be called by
 * any.
 */
#include "cli/cli.h"
#include "cli/cli_remote.h"

typedef struct cli_talk cli_talk;

typedef struct cli_talk_options {
	const char *chat; /* terminal:NAME: its chat and its channel */
	bool has_prompt;  /* a person sits there */
	const char *url;  /* of a service; NULL: a home, by `session` */
	keep_bytes token; /* for url */
	keep_session *session;
	void (*ended)(void *ctx); /* it has stopped itself (cli_talk_failure); from its thread */
	void *ended_ctx;
} cli_talk_options;

/* Begin: what still waits to be delivered in the chat is shown at once. The options' texts are
   borrowed for as long as it lasts. */
keep_status cli_talk_open(const cli_talk_options *options, cli_talk **out,
			  keep_error *err) KEEP_MUST_CHECK;
void cli_talk_close(cli_talk **talk);
/* Store a line as a message. A line that is refused is told on standard error and counts as failed;
   a failure is that of the talk. */
keep_status cli_talk_post(cli_talk *talk, keep_bytes text, keep_error *err) KEEP_MUST_CHECK;
/* Wait until every message was answered or has failed, or until the talk was stopped. */
void cli_talk_settle(cli_talk *talk);
/* End all waits, now and to come. */
void cli_talk_stop(cli_talk *talk);
/* OK, or why it has stopped itself: it may not do what it must. After cli_talk_settle. */
keep_status cli_talk_failure(const cli_talk *talk, keep_error *err) KEEP_MUST_CHECK;
/* How many messages failed. */
size_t cli_talk_failed(const cli_talk *talk);
/* "ada> " on a terminal. */
void cli_talk_prompt(cli_talk *talk);

#endif
