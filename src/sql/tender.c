/*
 * tender.c - the thread that does a database's housekeeping beside its writers.
 *
 * A driver's housekeeping (SQLite's checkpoints) can take as long as hundreds of commits. Done by
 * the thread whose commit happened to make it due, it would be that caller's wait; done here, it
 * waits for nobody and few wait for it (sqlite_checkpoint.c says how).
 *
 * The thread starts when something falls due for the first time, so a command that writes one value
 * has none. It has a connection of its own, no caller's data, and all signals blocked. Where it
 * cannot be started, or its connection cannot be opened, housekeeping is done inline as if it were
 * not there.
 *
 * Tests: tests/unit/test_database.c; the crash and process tests of the engine; TSan.
 */
#include "sql/sql.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

enum state { NOT_STARTED, RUNNING, FAILED };

struct kp_tender {
	const kp_sql_driver *driver;
	const kp_sql_options *options; /* the database's, which outlives the tender */
	_Atomic int state;             /* enum state */
	pthread_t thread;              /* while it is not NOT_STARTED */
	bool joinable;
	pthread_mutex_t lock; /* the members below */
	pthread_cond_t changed;
	bool due, stop;
};

keep_status kp_tender_open(const kp_sql_driver *driver, const kp_sql_options *options,
			   kp_tender **out, keep_error *err)
{
	kp_tender *tender = kp_alloc_zero(sizeof *tender);

	*out = tender;
	if (!tender)
		return kp_fail_memory(err, "housekeeping");
	*tender = (kp_tender){
		.driver = driver,
		.options = options,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.changed = PTHREAD_COND_INITIALIZER,
	};
	return KEEP_OK;
}

static bool wait_for_work(kp_tender *tender)
{
	bool stop;

	pthread_mutex_lock(&tender->lock);
	while (!tender->due && !tender->stop)
		pthread_cond_wait(&tender->changed, &tender->lock);
	tender->due = false;
	stop = tender->stop;
	pthread_mutex_unlock(&tender->lock);
	return !stop;
}

static void *tend(void *ctx)
{
	kp_tender *tender = ctx;
	kp_sql_options options = *tender->options;
	kp_sql_conn *conn = NULL;
	keep_error err = KEEP_ERROR_INIT;

	options.create = false;
	if (options.beside) /* nothing to do there; and no file is mapped beside one */
		options.mmap_bytes = 0;
	options.beside = NULL;
	while (wait_for_work(tender)) {
		if (conn && conn->broken)
			kp_sql_close(&conn);
		if (!conn && kp_sql_open(tender->driver, &options, &conn, &err) != KEEP_OK) {
			kp_log(KEEP_LOG_WARNING, "housekeeping is done inline: %s", err.message);
			atomic_store(&tender->state, FAILED);
			break;
		}
		kp_sql_tend(conn);
	}
	kp_sql_close(&conn);
	return NULL;
}

/* Called by the writing thread alone. */
static void start(kp_tender *tender)
{
	sigset_t all, before;

	atomic_store(&tender->state, RUNNING); /* before the thread can say that it failed */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	tender->joinable = pthread_create(&tender->thread, NULL, tend, tender) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!tender->joinable)
		atomic_store(&tender->state, FAILED);
}

void kp_tender_look(kp_tender *tender, kp_sql_conn *writer)
{
	if (atomic_load(&tender->state) == FAILED) {
		kp_sql_maintain(writer);
		return;
	}
	if (!kp_sql_falls_due(writer))
		return;
	if (atomic_load(&tender->state) == NOT_STARTED)
		start(tender);
	pthread_mutex_lock(&tender->lock);
	tender->due = true;
	pthread_cond_signal(&tender->changed);
	pthread_mutex_unlock(&tender->lock);
}

void kp_tender_close(kp_tender **tender)
{
	kp_tender *closing = *tender;

	*tender = NULL;
	if (!closing)
		return;
	pthread_mutex_lock(&closing->lock);
	closing->stop = true;
	pthread_cond_signal(&closing->changed);
	pthread_mutex_unlock(&closing->lock);
	if (closing->joinable)
		pthread_join(closing->thread, NULL);
	pthread_cond_destroy(&closing->changed);
	pthread_mutex_destroy(&closing->lock);
	kp_free(closing);
}
