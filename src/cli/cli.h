#ifndef KP_CLI_H
#define KP_CLI_H
/*
 * cli.h - the command `keep`, from words to a call and from a result to text.
 *
 *   main.c            dispatch
 *   cli_failures.c    what it says when it fails
 *   agent_main.c      keep-agent: `keep agent` alone
 *   cli_request.c     the words of `keep <store> <verb> …`, read against the descriptions
 *   cli_inputs.c      those words as the call's JSON, with standard input for `-`
 *   cli_store.c       runs them, and prints results
 *   cli_stream.c      lines in and answers out, without blocking on either
 *   cli_batch.c       `keep engine batch`
 *   cli_call.c        `keep call`
 *   cli_agent.c       `keep agent`: any program as an agent
 *   cli_transfer.c    `keep transfer`: a home to another backend
 *   cli_chat.c        `keep chat` (cli_talk.h)
 *   cli_serve.c       `keep serve`
 *   cli_trace.c       `keep trace`
 *   cli_backup.c      `keep backup`
 *   cli_restore.c     `keep restore`
 *   cli_care.c        `keep rekey`, `retain`, `migrate`, `import`, `optimize`
 *   cli_check.c       `keep check`
 *   cli_stats.c       `keep stats`
 *   cli_options.c     words of those, and their progress
 *   cli_signals.c     Ctrl-C and SIGTERM
 *   cli_help.c        help texts
 *   cli_manual.c      the reference manual
 *   cli_man_page.c    the man page
 *   cli_completion.c  shell completion
 *
 * What it is not: the place of any rule about a store. Everything about stores comes from
 * operations/operations_table.h; this folder only spells.
 */
#include "operations/operations_table.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

enum { CLI_DONE = 0, CLI_NO = 1, CLI_WRONG_USE = 2 };

/* ---------------------------------------------------------------- commands (main.c,
 * cli_failures.c) */

typedef struct cli_command {
	const char *name;
	const char *usage;    /* what follows the name */
	const char *sentence; /* NULL: not shown in help */
	const char *more;
	int (*run)(int argc, char **argv); /* argv[0] is the word after the command's name */
} cli_command;

extern const cli_command cli_commands[]; /* ends with a NULL name */

/* "keep: <message>" on stderr; the exit status that belongs to it. */
int cli_fail(const keep_error *err);
/* "keep: <what>; see keep <topic> --help" on stderr; CLI_WRONG_USE. */
int cli_wrong_use(const char *topic, const char *format, ...) KEEP_PRINTF(2, 3);
/* Flush stdout: the exit status, which stays `status` unless the output could not be written. A
   reader that went away is no failure. */
int cli_finish_output(int status);
/* A closed descriptor below 3 would be given to the next file that is opened, and then written to
   as if it were the terminal. */
void cli_hold_descriptors(void);

/* ---------------------------------------------------------------- options (cli_request.c) */

/* The options that are the command's own and not a store's. */
enum cli_own_option {
	CLI_OPTION_HOME,
	CLI_OPTION_JSON,
	CLI_OPTION_NULL,
	CLI_OPTION_ANNOUNCE,
	CLI_OPTION_HELP,
	CLI_OWN_OPTIONS
};
typedef struct cli_own_option_text {
	const char *name;
	const char *value; /* what stands for its value in help; NULL: a flag */
	const char *sentence;
} cli_own_option_text;
extern const cli_own_option_text cli_own_options[CLI_OWN_OPTIONS];
/* True when the option means something for the operation. */
bool cli_own_option_fits(enum cli_own_option option, const kp_operation *operation);

/* `keep <store> <verb> …`, read. Everything borrows from argv and the environment. */
typedef struct cli_request {
	const kp_operation_store *store;
	const kp_operation *operation;
	const char *place;
	const char *inputs[KP_INPUTS_MAX];   /* by index; NULL: not there */
	const char *settings[KP_INPUTS_MAX]; /* the same for the store's settings */
	const char *own[CLI_OWN_OPTIONS];    /* "true" for a flag */
	bool serves_lines;                   /* engine batch without --changes */
} cli_request;

/* CLI_DONE, or CLI_WRONG_USE with the reason printed. With --help, nothing else is checked. */
int cli_request_read(cli_request *request, const kp_operation_store *store,
		     const kp_operation *operation, int argc, char **argv);
/* The verb as a user may write it: hyphens for underscores, or its alias. NULL: none. */
const kp_operation *cli_find_operation(const kp_operation_store *store, const char *verb);
/* "score_ms" as "score-ms", in a caller's buffer. */
#define CLI_NAME_SIZE 64
const char *cli_option_name(const char *name, char out[CLI_NAME_SIZE]);

/* ---------------------------------------------------------------- JSON of a request (cli_inputs.c)
 */

/* True when "-" as the input's value means standard input. */
bool cli_takes_stdin(const kp_input *input);
/* The inputs or settings as a JSON object appended to `out`. `encode` sends bytes as base64 and
   says so. Reads stdin for `-`. A wrong number or word is INVALID, named as an option. */
keep_status cli_inputs_format(const cli_request *request, bool encode, keep_buffer *out,
			      keep_error *err) KEEP_MUST_CHECK;
keep_status cli_settings_format(const cli_request *request, keep_buffer *out,
				keep_error *err) KEEP_MUST_CHECK;
/* Open the session that a request is about. */
keep_status cli_session_open(const cli_request *request, keep_session **out,
			     keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- signals (cli_signals.c) */

/* From `begin` to `end`, SIGINT, SIGTERM and SIGHUP call `stop` on a thread of its own instead of
   killing; the second one ends the process at once, after `abandon`. Begin before any other thread
   is started. */
typedef struct cli_signals {
	void (*stop)(void *ctx);
	void (*_Atomic abandon)(void *ctx); /* NULL after begin; may be set then */
	void *ctx;
	atomic_int caught; /* the signal, 0: none */
	pthread_t thread;
} cli_signals;

keep_status cli_signals_begin(cli_signals *signals, void (*stop)(void *ctx), void *ctx,
			      keep_error *err) KEEP_MUST_CHECK;
/* `status`, or 128 + the signal that was caught. */
int cli_signals_end(cli_signals *signals, int status);

/* ---------------------------------------------------------------- streams (cli_stream.c) */

typedef struct cli_stream cli_stream;

keep_status cli_stream_open(size_t line_bytes_max, cli_stream **out,
			    keep_error *err) KEEP_MUST_CHECK;
void cli_stream_close(cli_stream **stream);
/* Up to `max` whole lines that were read; they are valid until the next cli_stream_wait. A line
   that was too long is absent. 0: none is there. */
size_t cli_stream_take(cli_stream *stream, keep_bytes *lines, size_t max);
/* Sleep until there is input, room for output, or a wake-up; read and write what can be. */
keep_status cli_stream_wait(cli_stream *stream, keep_error *err) KEEP_MUST_CHECK;
/* Write what can be written at once. */
keep_status cli_stream_flush(cli_stream *stream, keep_error *err) KEEP_MUST_CHECK;
/* Append answers; any thread. */
keep_status cli_stream_put(cli_stream *stream, keep_bytes bytes, keep_error *err) KEEP_MUST_CHECK;
/* Wait for room when more than a bound is not yet written. */
keep_status cli_stream_settle(cli_stream *stream, keep_error *err) KEEP_MUST_CHECK;
/* Write everything. */
keep_status cli_stream_finish(cli_stream *stream, keep_error *err) KEEP_MUST_CHECK;
/* Make cli_stream_wait return; any thread. */
void cli_stream_wake(cli_stream *stream);
/* Read no more; any thread. What was read is still given out. */
void cli_stream_stop(cli_stream *stream);
bool cli_stream_is_over(const cli_stream *stream); /* nothing more will be read */
bool cli_stream_is_gone(const cli_stream *stream); /* nobody reads the answers any more */

/* ---------------------------------------------------------------- other commands (cli_options.c)
 */

/* One --option of a command that is no store's; exactly one of the targets is not NULL. */
typedef struct cli_option {
	const char *name; /* NULL: the end of the table */
	const char **text;
	bool *flag;
	int *number;
} cli_option;

/* Read words into `places` (in order; NULL where there is none) and options. CLI_DONE, or
   CLI_WRONG_USE with the reason printed. */
int cli_options_read(const char *topic, const cli_option *options, const char **places,
		     size_t place_count, int argc, char **argv);

/* One line on a terminal that says how far something is, and the flag that Ctrl-C sets. */
typedef struct cli_progress {
	bool shows;
	int64_t told_ms;
	volatile int cancelled;
} cli_progress;

void cli_progress_show(void *ctx, int64_t done_bytes, int64_t all_bytes);
void cli_progress_clear(const cli_progress *progress);
void cli_progress_stop(void *ctx); /* for cli_signals_begin */

/* ---------------------------------------------------------------- the rest */

int cli_store_main(const kp_operation_store *store, int argc, char **argv);
int cli_batch_main(const cli_request *request);
int cli_call_main(int argc, char **argv);
int cli_agent_main(int argc, char **argv);
int cli_help_main(int argc, char **argv);
int cli_manual_main(int argc, char **argv);
int cli_completion_main(int argc, char **argv);
int cli_transfer_main(int argc, char **argv);
int cli_backup_main(int argc, char **argv);
int cli_restore_main(int argc, char **argv);
int cli_rekey_main(int argc, char **argv);
int cli_retain_main(int argc, char **argv);
int cli_migrate_main(int argc, char **argv);
int cli_import_main(int argc, char **argv);
int cli_optimize_main(int argc, char **argv);
int cli_check_main(int argc, char **argv);
int cli_stats_main(int argc, char **argv);
int cli_chat_main(int argc, char **argv);
int cli_serve_main(int argc, char **argv);
int cli_trace_main(int argc, char **argv);

/* Help on stdout. */
void cli_help_all(void);
void cli_help_store(const kp_operation_store *store);
void cli_help_operation(const kp_operation_store *store, const kp_operation *operation);
void cli_help_command(const cli_command *command);
/* keep(1), for scdoc, on stdout. */
void cli_man_page(void);
/* "HOME PATH VALUE [--score-ms N] …" */
void cli_put_usage(FILE *out, const kp_operation_store *store, const kp_operation *operation);
/* What stands for an input's value: PATH, VALUE, N, … */
const char *cli_value_name(const kp_input *input, char out[CLI_NAME_SIZE]);

#endif
