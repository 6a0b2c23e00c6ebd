/*
 * cli_signals.c - Ctrl-C and SIGTERM end a long command where it can end.
 *
 * The signals are blocked in every thread and taken by one that only waits for them, so nothing
 * runs in a signal handler. The first asks the command to stop: it finishes what it began, closes
 * the store and exits with 128 + the signal, as a shell would say. The second ends the process
 * where it stands; the stores are made for that.
 *
 * Tests: tests/cli/test_cli_lines.py.
 */
#include "cli/cli.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

/* SIGUSR1 is how `end` tells the thread to leave. */
static void fill_set(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGHUP);
	sigaddset(set, SIGUSR1);
}

static void *wait_for_signals(void *ctx)
{
	cli_signals *signals = ctx;
	sigset_t set;
	int number = 0;

	fill_set(&set);
	while (sigwait(&set, &number) == 0 && number != SIGUSR1) {
		if (atomic_load(&signals->caught)) {
			void (*abandon)(void *ctx) = atomic_load(&signals->abandon);

			if (abandon)
				abandon(signals->ctx);
			_exit(128 + number);
		}
		atomic_store(&signals->caught, number);
		signals->stop(signals->ctx);
	}
	return NULL;
}

keep_status cli_signals_begin(cli_signals *signals, void (*stop)(void *ctx), void *ctx,
			      keep_error *err)
{
	sigset_t set;
	int failed;

	signals->stop = stop;
	signals->ctx = ctx;
	atomic_init(&signals->caught, 0);
	atomic_init(&signals->abandon, NULL);
	fill_set(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	failed = pthread_create(&signals->thread, NULL, wait_for_signals, signals);
	return failed ? kp_fail_errno(err, failed, "a thread for signals") : KEEP_OK;
}

int cli_signals_end(cli_signals *signals, int status)
{
	pthread_kill(signals->thread, SIGUSR1);
	pthread_join(signals->thread, NULL);
	return atomic_load(&signals->caught) ? 128 + atomic_load(&signals->caught) : status;
}
