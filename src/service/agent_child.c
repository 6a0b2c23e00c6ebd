/*
 * agent_child.c - runs a program with an input, and takes what it says, within bounds.
 *
 *     running ── exits ───────────────────────────────> over
 *        └─ time limit, too much output, told to stop ─> TERM ── 5 s ──> KILL ─> over
 *
 * Invariants:
 *   1. The program is the leader of a process group of its own, and signals go to the group: what
 * it started ends with it when we end it. When we are killed, the kernel kills the program.
 *   2. Never stuck: our ends of its pipes do not block; its input, output and end are waited for at
 *      once. What it left running may hold its pipes open; we wait for the program alone.
 *   3. It is reaped before kp_child_run returns, and its descriptors are closed.
 *   4. It starts with no signal blocked or ignored, and with no descriptor of ours but three.
 *   5. A program that closes its input early does no harm, also where SIGPIPE is not ignored.
 *
 * What it does not do: know why it runs (agent_turn.c, agent_jobs.c).
 *
 * Tests: tests/cli/test_cli_agent.py, tests/contract/test_service_agents.c.
 */
#include "service/agent_child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { GRACE_MS = 5000, TICK_MS = 1000, BLIND_MS = 20, READ_BYTES = 1 << 16 };
enum { CLOSE_WHEN_RUN = 4 }; /* CLOSE_RANGE_CLOEXEC */
enum { PIPE_IN, PIPE_OUT, PIPE_ERR, PIPE_START, PIPES };

typedef struct child {
	const kp_child_request *request;
	kp_child_result *result;
	pid_t pid;
	int ends[PIPES]; /* ours; -1: closed */
	int exit_fd;     /* readable once it has ended; -1: the kernel has none, we look */
	size_t written;
	size_t line_len; /* of result->last_line, of the line that is being read */
	char line[KP_LAST_LINE_SIZE];
	int64_t limit_ms, kill_ms, tick_ms; /* on the monotonic clock; 0: never */
	bool is_over;
} child;

static int64_t now_ms(void)
{
	return (int64_t)(kp_monotonic_ns() / 1000000);
}

/* ---------------------------------------------------------------- starting */

/* In the new process: nothing but calls that are safe there. */
static void become_program(const kp_child_request *request, pid_t parent, const int theirs[PIPES])
{
	int failure;
	sigset_t none;

	(void)setpgid(0, 0);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent) /* it was over before the kernel knew of our wish */
		_exit(126);
	(void)signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	if (dup2(theirs[PIPE_IN], STDIN_FILENO) >= 0 &&
	    dup2(theirs[PIPE_OUT], STDOUT_FILENO) >= 0 &&
	    dup2(theirs[PIPE_ERR], STDERR_FILENO) >= 0) {
		/* What a library opened without care; an old kernel has no such call. */
		(void)syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, CLOSE_WHEN_RUN);
		(void)execvpe(request->argv[0], request->argv, request->envp);
	}
	failure = errno;
	/* When even that cannot be told, the exit status tells something. */
	if (write(theirs[PIPE_START], &failure, sizeof failure) != sizeof failure)
		_exit(126);
	_exit(127);
}

static void close_all(int ends[PIPES])
{
	for (unsigned i = 0; i < PIPES; i++)
		kp_file_close(&ends[i]);
}

static keep_status open_pipes(int ours[PIPES], int theirs[PIPES], keep_error *err)
{
	for (unsigned i = 0; i < PIPES; i++) {
		int ends[2];

		if (pipe2(ends, O_CLOEXEC) != 0)
			return kp_fail_errno(err, errno, "a pipe");
		ours[i] = ends[i == PIPE_IN];
		theirs[i] = ends[i != PIPE_IN];
		if (i != PIPE_START && fcntl(ours[i], F_SETFL, O_NONBLOCK) != 0)
			return kp_fail_errno(err, errno, "a pipe");
	}
	return KEEP_OK;
}

/* Whether the program was found and could be run. */
static keep_status check_start(child *self, keep_error *err)
{
	int failure = 0;
	ssize_t got;

	do
		got = read(self->ends[PIPE_START], &failure, sizeof failure);
	while (got < 0 && errno == EINTR);
	kp_file_close(&self->ends[PIPE_START]);
	if (got != sizeof failure)
		return KEEP_OK;
	(void)waitpid(self->pid, NULL, 0);
	return kp_fail_errno(err, failure, "%s", self->request->argv[0]);
}

static keep_status start(child *self, keep_error *err)
{
	int theirs[PIPES] = {-1, -1, -1, -1};
	pid_t parent = getpid();
	keep_status status = open_pipes(self->ends, theirs, err);

	if (status == KEEP_OK) {
		self->pid = fork();
		if (self->pid == 0)
			become_program(self->request, parent, theirs);
		if (self->pid < 0)
			status = kp_fail_errno(err, errno, "a process");
	}
	close_all(theirs);
	if (status != KEEP_OK)
		return status;
	(void)setpgid(self->pid, self->pid); /* whoever comes first */
	status = check_start(self, err);
	if (status == KEEP_OK)
		self->exit_fd = (int)syscall(SYS_pidfd_open, self->pid, 0);
	return status;
}

/* ---------------------------------------------------------------- ending it */

static void end_it(child *self)
{
	if (self->kill_ms)
		return;
	(void)kill(-self->pid, SIGTERM);
	self->kill_ms = now_ms() + GRACE_MS;
}

static void look_at_clock(child *self)
{
	int64_t now = now_ms();

	if (self->limit_ms && now >= self->limit_ms && !self->kill_ms) {
		self->result->is_late = true;
		end_it(self);
	}
	if (self->kill_ms && now >= self->kill_ms) {
		(void)kill(-self->pid, SIGKILL);
		self->kill_ms = now + GRACE_MS;
	}
	if (now < self->tick_ms)
		return;
	self->tick_ms = now + TICK_MS;
	if (self->request->tick && !self->request->tick(self->request->ctx)) {
		self->result->is_stopped = true;
		end_it(self);
	}
}

static int timeout(const child *self)
{
	int64_t until = self->tick_ms, left;

	if (self->limit_ms && !self->kill_ms && self->limit_ms < until)
		until = self->limit_ms;
	if (self->kill_ms && self->kill_ms < until)
		until = self->kill_ms;
	left = until - now_ms();
	if (left < 0)
		left = 0;
	return self->exit_fd < 0 && left > BLIND_MS ? BLIND_MS : (int)left;
}

static void look_for_end(child *self)
{
	int status = 0;
	pid_t got = waitpid(self->pid, &status, WNOHANG);

	if (got == 0 || (got < 0 && errno == EINTR))
		return;
	self->is_over = true;
	self->result->wait_status = got == self->pid ? status : 0;
}

/* ---------------------------------------------------------------- its pipes */

static void write_input(child *self)
{
	keep_bytes input = self->request->input;
	ssize_t put = 0;

	if (self->written < input.len)
		put = write(self->ends[PIPE_IN], input.data + self->written,
			    input.len - self->written);
	if (put > 0)
		self->written += (size_t)put;
	/* A program that does not want its input may say so by closing it. */
	if (self->written == input.len || (put < 0 && errno != EAGAIN && errno != EINTR))
		kp_file_close(&self->ends[PIPE_IN]);
}

/* Remember the last line that is not empty, for who asks why. */
static void note_line(child *self, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (text[i] != '\n' && text[i] != '\r') {
			if (self->line_len + 1 < sizeof self->line)
				self->line[self->line_len++] = text[i];
			continue;
		}
		if (self->line_len == 0)
			continue;
		self->line[self->line_len] = '\0';
		memcpy(self->result->last_line, self->line, self->line_len + 1);
		if (self->request->said)
			self->request->said(self->request->ctx, self->line);
		self->line_len = 0;
	}
}

static void tell(const char *text, size_t len)
{
	while (len) {
		ssize_t put = write(STDERR_FILENO, text, len);

		if (put <= 0 && errno != EINTR)
			return;
		if (put > 0) {
			text += put;
			len -= (size_t)put;
		}
	}
}

/* True while there may be more at once. */
static bool read_pipe(child *self, unsigned which, keep_error *err, keep_status *status)
{
	char bytes[READ_BYTES];
	ssize_t got = read(self->ends[which], bytes, sizeof bytes);

	if (got < 0)
		return errno == EINTR;
	if (got == 0) {
		kp_file_close(&self->ends[which]);
		return false;
	}
	if (which == PIPE_ERR) {
		note_line(self, bytes, (size_t)got);
		if (!self->request->said)
			tell(bytes, (size_t)got);
	} else if (self->result->output.len + (size_t)got > self->request->output_bytes_max) {
		self->result->is_too_long = true;
		end_it(self);
	} else if (*status == KEEP_OK) {
		*status = kp_buffer_append(&self->result->output, (keep_bytes){bytes, (size_t)got},
					   err);
	}
	return true;
}

static keep_status read_rest(child *self, keep_error *err)
{
	keep_status status = KEEP_OK;

	for (unsigned which = PIPE_OUT; which <= PIPE_ERR; which++)
		while (self->ends[which] >= 0 && !self->result->is_too_long &&
		       read_pipe(self, which, err, &status))
			;
	note_line(self, "\n", 1);
	return status;
}

static keep_status attend(child *self, keep_error *err)
{
	keep_status status = KEEP_OK;

	while (!self->is_over) {
		struct pollfd fds[] = {
			{.fd = self->ends[PIPE_IN], .events = POLLOUT},
			{.fd = self->ends[PIPE_OUT], .events = POLLIN},
			{.fd = self->ends[PIPE_ERR], .events = POLLIN},
			{.fd = self->exit_fd, .events = POLLIN},
		};

		(void)poll(fds, KP_COUNT(fds), timeout(self));
		if (fds[PIPE_IN].revents)
			write_input(self);
		if (fds[PIPE_OUT].revents)
			(void)read_pipe(self, PIPE_OUT, err, &status);
		if (fds[PIPE_ERR].revents)
			(void)read_pipe(self, PIPE_ERR, err, &status);
		if (status != KEEP_OK)
			end_it(self);
		look_at_clock(self);
		if (self->exit_fd < 0 || fds[3].revents)
			look_for_end(self);
	}
	return status;
}

/* A program that closes its input early is none of the process's business. True: it was ours to
   block. */
static bool block_pipe_signal(void)
{
	sigset_t pipe, before;

	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	return pthread_sigmask(SIG_BLOCK, &pipe, &before) == 0 && !sigismember(&before, SIGPIPE);
}

static void allow_pipe_signal(void)
{
	const struct timespec at_once = {0, 0};
	sigset_t pipe;

	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	while (sigtimedwait(&pipe, NULL, &at_once) < 0 && errno == EINTR)
		;
	(void)pthread_sigmask(SIG_UNBLOCK, &pipe, NULL);
}

keep_status kp_child_run(const kp_child_request *request, kp_child_result *result, keep_error *err)
{
	child self = {
		.request = request,
		.result = result,
		.ends = {-1, -1, -1, -1},
		.exit_fd = -1,
	};
	bool blocked = block_pipe_signal();
	keep_status status, rest;

	result->output.len = 0;
	result->last_line[0] = '\0';
	result->is_late = result->is_stopped = result->is_too_long = false;
	result->wait_status = 0;
	status = start(&self, err);
	if (status != KEEP_OK)
		goto out;
	self.tick_ms = now_ms() + TICK_MS;
	self.limit_ms = request->limit_ms ? now_ms() + request->limit_ms : 0;
	atomic_store(request->group, self.pid);
	status = attend(&self, err);
	atomic_store(request->group, 0);
	rest = read_rest(&self, status == KEEP_OK ? err : NULL);
	status = status == KEEP_OK ? rest : status;
out:
	close_all(self.ends);
	kp_file_close(&self.exit_fd);
	if (blocked)
		allow_pipe_signal();
	return status;
}

void kp_child_result_release(kp_child_result *result)
{
	keep_buffer_release(&result->output);
}
