/*
 * main.c - the command `keep`: which command its words ask for.
 *
 * A word is the name of a store (then cli_store.c reads on) or of a command below. Exit statuses:
 * 0 done, 1 the answer is no, 2 wrong use, and for every other failure the number of its status
 * (include/keep/base.h). A failure is one line on standard error: "keep: <what>: <why>".
 *
 * Tests: tests/cli/.
 */
#include "cli/cli.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

static int run_init(int argc, char **argv);

const cli_command cli_commands[] = {
	{.name = "init",
	 .usage = "HOME",
	 .sentence = "Make a home: a folder (0700), or what a database server needs.",
	 .more = "HOME is a folder's name or a postgres:// URL; left out, KEEP_HOME. Done also "
		 "when it is a home already.",
	 .run = run_init},
	{.name = "call",
	 .usage = "HOME",
	 .sentence = "Serve calls of any operation, as JSON lines on standard input.",
	 .more = "HOME as for every command; KEEP_HOME stands in. A line is "
		 "{\"id\":1,\"call\":\"engine.get\",\"with\":{…}}; its answer is "
		 "{\"id\":1,\"ok\":true,\"result\":…} or "
		 "{\"id\":1,\"ok\":false,\"status\":\"INVALID\",\"error\":\"…\"}. Calls run one "
		 "after the other in the order of their lines. One that waits (engine.watch, "
		 "gateway.wait, gateway.claim_deliveries with timeout_ms) is "
		 "begun in that order too, so that it misses nothing that a later line changes, "
		 "and "
		 "then waits aside: its answer comes when it comes. At most 64 wait at once. At "
		 "the "
		 "end of input the waits under way are still answered.",
	 .run = cli_call_main},
	{.name = "agent",
	 .usage = "FOLDER [--max N] [--lease TIME] [--time-limit TIME] [--kinds K,…] [--text] "
		  "[--once] [--mount-safe] -- COMMAND [WORD …]",
	 .sentence = "Let any program be a session's agent.",
	 .more = "FOLDER is the session's folder, or postgres://…?schema=S&session=ID. For each "
		 "message "
		 "COMMAND is run once: the message's content, JSON, is a line on its standard "
		 "input "
		 "(with --text only the text in it), and KEEP_MESSAGE_ID, KEEP_MESSAGE_SEQ, "
		 "KEEP_ATTEMPT and KEEP_SESSION are in its environment. What it prints is the "
		 "reply: a JSON object as it is, anything else as {\"text\":…}, nothing for "
		 "nothing, "
		 "at most 1 MiB. Exit status 0 stores the reply and completes the message in one "
		 "commit. Any other, or a signal, fails it, with the last line of its standard "
		 "error as the reason, and the host retries it later. --max so many at the same "
		 "time (1). --lease how long a claim lasts without a sign of life (60s); it is "
		 "extended while COMMAND runs. --time-limit ends COMMAND and what it started: "
		 "SIGTERM, 5 s later SIGKILL. --kinds only messages of these kinds, such as "
		 "chat,task; else all, system too. --once ends when no message is left. "
		 "--mount-safe "
		 "is for folders that the host serves so, too: a file is locked for each change, "
		 "and "
		 "nothing is mapped into memory. A TIME is "
		 "a number with ms, s, m or h. "
		 "SIGTERM or SIGINT ends it after the messages that are being worked on; the "
		 "second kills "
		 "their programs and gives the messages back. A COMMAND that cannot be started "
		 "ends it, and fails no message.",
	 .run = cli_agent_main},
	{.name = "serve",
	 .usage = "HOME [--listen ADDRESS:PORT] [--agent COMMAND] [--agent-text] [--agents N] "
		  "[--agent-seconds N] [--tls-certificate FILE --tls-key FILE] [--behind-proxy] "
		  "[--hosts NAME,…] [--key-file FILE] [--backups FOLDER] [--no-maintenance] "
		  "[--grace-seconds N] [--verbose]",
	 .sentence = "Be the host of a home: accept, route, answer, deliver, keep schedules.",
	 .more = "Messages come in and deliveries go out over HTTP, at 127.0.0.1:7400 or where "
		 "--listen says; port 0 is any free one, and what it is is the first line of the "
		 "output. The --agent COMMAND, run by the shell, answers for sessions whose agent "
		 "group names "
		 "no agent_provider: as `keep agent` runs it, with --agent-text for the text "
		 "alone, --agents so many at once (4), --agent-seconds each (600). One host "
		 "per home: a second one waits and takes over when the first one ends or dies. "
		 "Loopback needs no account as long as there is none; another address needs one, "
		 "and TLS (--tls-certificate and --tls-key, files in PEM form) or --behind-proxy. "
		 "--hosts are further names that requests may have in Host. --key-file is the file "
		 "with the keys of secrets, else the home's vault.key. Backups are made at night, "
		 "in the home or in --backups FOLDER, and what "
		 "is over is removed, unless --no-maintenance. SIGTERM finishes what is in flight, "
		 "for --grace-seconds (10). --verbose logs more. docs/serve.md tells all of it.",
	 .run = cli_serve_main},
	{.name = "chat",
	 .usage = "HOME|URL [--chat terminal:NAME] [--agent COMMAND] [--agent-text] "
		  "[--token-file FILE] [--once TEXT]",
	 .sentence = "Talk to an agent in the terminal, through the whole journey.",
	 .more = "Each line is a message in the chat that --chat names (terminal: and your user's "
		 "name "
		 "when left out), "
		 "and what the agent says to it is printed. HOME needs a `keep serve` that runs on "
		 "it; with --agent the talk is the host itself for as long as it lasts, and "
		 "COMMAND "
		 "answers as below `keep serve`, with --agent-text for the text alone. URL is "
		 "that of a `keep serve` elsewhere, http:// or https://, with the token of an "
		 "account in KEEP_TOKEN or in the --token-file. In a pipe it ends when all lines "
		 "were answered "
		 "or have failed, and its exit status is 1 when one has; --once says one "
		 "thing and does the same. Why a message failed is on standard error. Ctrl-C ends "
		 "it; an answer that comes later is shown by the next talk of that NAME.",
	 .run = cli_chat_main},
	{.name = "trace",
	 .usage = "HOME CHAT ID [--json]",
	 .sentence = "Where a message is, and every step that it took through all stores.",
	 .more = "CHAT is the chat's jid and ID the message's, as the adapter put it. The last "
		 "line of the steps says how it stands. --json prints one object.",
	 .run = cli_trace_main},
	{.name = "transfer",
	 .usage = "FROM TO [--json] [--without-files] [--in-use]",
	 .sentence = "Move a home from a folder to a database server, or back.",
	 .more = "FROM and TO are homes, one a folder and the other a postgres:// URL. All stores "
		 "are copied and TO is made; every table is read back and compared before it is "
		 "done. FROM is not changed. When it was interrupted, the same command goes on "
		 "with it; until it is done TO must not be used. TO must be empty. "
		 "--without-files leaves files of messages behind, which a server cannot keep. "
		 "--in-use takes a folder that is written meanwhile, each file as of a moment of "
		 "its own; else that is refused at the end. --json prints each table as an object "
		 "on a line.",
	 .run = cli_transfer_main},
	{.name = "backup",
	 .usage = "HOME [--label L] [--to FOLDER] [--s3 URL] [--rotate] [--daily N] [--weekly N] "
		  "[--monthly N] [--zone Z] [--json] | HOME --list | HOME --verify [--name N] | "
		  "HOME --prune [--dry-run]",
	 .sentence = "Back a home up, as of one moment across all its stores, while it is in use.",
	 .more = "The backup is a folder HOME/backups/<time>, or FOLDER/backups/<time> with --to, "
		 "which "
		 "a home on a server needs: all files, a manifest with their checksums, opened and "
		 "checked before it counts. vault.key is not in it: keep it elsewhere. --s3 "
		 "s3://BUCKET/PREFIX uploads it, too, with AWS_ACCESS_KEY_ID, "
		 "AWS_SECRET_ACCESS_KEY, "
		 "AWS_REGION and AWS_ENDPOINT_URL of the environment. --rotate then keeps 7 daily, "
		 "4 weekly and 3 monthly ones (--daily, --weekly, --monthly), by the calendar of "
		 "--zone (UTC); those with a --label stay. --list, --verify and --prune work on "
		 "what is "
		 "there, --verify on the newest or on the one that --name names; --dry-run tells "
		 "what "
		 "--prune would remove. HOME may then be s3://BUCKET/PREFIX for --list and "
		 "--prune. "
		 "--json prints the backup, or each of a list, as an object on a line.",
	 .run = cli_backup_main},
	{.name = "restore",
	 .usage = "FROM TARGET [--name N] [--over] [--force] [--json]",
	 .sentence = "Make a home of a backup, verified first.",
	 .more = "FROM is a home with backups, a backup's own folder, or s3://BUCKET/PREFIX; "
		 "--name "
		 "says which one, else the newest good one. TARGET is a new folder; with --over an "
		 "existing home is set aside first, and its vault.key taken over. --force although "
		 "a "
		 "process has it open. TARGET may be a postgres:// URL without anything in it. "
		 "Killed at any moment, the old home or the new one is at its place, or the same "
		 "command finishes. --json prints what was restored as an object.",
	 .run = cli_restore_main},
	{.name = "rekey",
	 .usage = "HOME [--resume] [--json]",
	 .sentence = "Encrypt all secrets under a new key.",
	 .more = "A new key is put in front of the home's vault.key, and every credential and "
		 "sensitive setting is encrypted under it. The ids of the keys that nothing in the "
		 "home needs any more are told: their lines of the file may go, once no backup "
		 "that is kept is older than this. With a key in KEEP_ENCRYPTION_KEY or "
		 "ENCRYPTION_KEY no key is made: give "
		 "the "
		 "new one first, then the old ones. When it was interrupted, --resume goes on "
		 "without another new key. --json prints an object.",
	 .run = cli_rekey_main},
	{.name = "retain",
	 .usage = "HOME [--dry-run] [--json]",
	 .sentence = "Remove what is older than the settings retention.* say.",
	 .more = "In small steps, between which others go on. --dry-run counts. --json prints an "
		 "object.",
	 .run = cli_retain_main},
	{.name = "migrate",
	 .usage = "HOME [status | plan | up] [--folder F] [--json]",
	 .sentence = "Tell or apply changes of the assistant store's tables.",
	 .more = "--folder has files <version>_<description>.sql; each is applied once, in order, "
		 "in one "
		 "transaction, after a verified copy of the store. status (which is meant when "
		 "left "
		 "out) gives all, plan what waits, up applies it. --json prints JSON. Keep's own "
		 "migrations run by "
		 "themselves.",
	 .run = cli_migrate_main},
	{.name = "import",
	 .usage = "HOME FILE [--model M] [--json]",
	 .sentence = "Take over another program's database into a store of the home.",
	 .more = "FILE is an assistant.db or a messages.db of the programs whose layouts Keep "
		 "knows; "
		 "it is only read. The store of the home must be new. --model names what made its "
		 "vectors. --json prints what was taken over as an object.",
	 .run = cli_import_main},
	{.name = "optimize",
	 .usage = "HOME",
	 .sentence = "Renew statistics and give free space back, in small steps.",
	 .run = cli_optimize_main},
	{.name = "check",
	 .usage = "HOME [--repair] [--reseal] [--quick] [--key-file F] [--json]",
	 .sentence = "Find out whether a home is whole: every file, every row, every index.",
	 .more = "Others may go on with it. Each finding is a line: damage (something that was "
		 "stored "
		 "is gone or cannot be trusted), inconsistency (what is stored contradicts itself) "
		 "or "
		 "note. --repair mends what is derived (indexes, full text, vectors, counters, "
		 "queues) and gives back what a dead process holds, and touches nothing else. "
		 "--reseal takes pages for whole that another program wrote, where the database's "
		 "structure is whole. --quick reads neither rows nor pages. --key-file is the file "
		 "with the keys of "
		 "secrets, else the home's vault.key. --json prints each finding as an object on a "
		 "line, and a summary as the last. Exit status 0 when nothing is wrong, or "
		 "everything was mended; 1 when something is. docs/check.md lists what may be "
		 "found.",
	 .run = cli_check_main},
	{.name = "stats",
	 .usage = "HOME [--json]",
	 .sentence = "Tell what a home has: rows, states, sizes, what waits and what is due.",
	 .more = "Of a store that is not there nothing is told. --json prints each number as an "
		 "object "
		 "on a line: store, name, part, value.",
	 .run = cli_stats_main},
	{.name = "completion",
	 .usage = "bash",
	 .sentence = "Print a completion script for the shell.",
	 .more = "Use it with: source <(keep completion bash)",
	 .run = cli_completion_main},
	{.name = "help",
	 .usage = "[STORE [VERB] | COMMAND]",
	 .sentence = "Explain Keep, a store, a verb or a command.",
	 .run = cli_help_main},
	{.name = "manual", .usage = "[--man]", .run = cli_manual_main},
	{.name = NULL},
};

/* ---------------------------------------------------------------- init */

static int run_init(int argc, char **argv)
{
	const char *home = argc ? argv[0] : getenv("KEEP_HOME");
	keep_error err = KEEP_ERROR_INIT;

	if (argc > 1)
		return cli_wrong_use("init", "init: '%s': one word too many", argv[1]);
	if (!home || !*home)
		return cli_wrong_use("init", "init: HOME: missing, and KEEP_HOME is not set");
	if (argc && home[0] == '-')
		return cli_wrong_use("init", "%s: no such option", home);
	return keep_home_init(home, &err) == KEEP_OK ? CLI_DONE : cli_fail(&err);
}

/* ---------------------------------------------------------------- dispatch */

static bool asks_help(int argc, char **argv)
{
	for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return true;
	return false;
}

static int run_command(const cli_command *command, int argc, char **argv)
{
	if (asks_help(argc, argv)) {
		cli_help_command(command);
		return cli_finish_output(CLI_DONE);
	}
	return command->run(argc, argv);
}

int main(int argc, char **argv)
{
	const kp_operation_store *store;

	cli_hold_descriptors();
	(void)signal(SIGPIPE, SIG_IGN);
	if (argc < 2) {
		return cli_wrong_use("", "a command is missing");
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		cli_help_all();
		return cli_finish_output(CLI_DONE);
	}
	if (strcmp(argv[1], "--version") == 0) {
		printf("keep %s\n", keep_version());
		return cli_finish_output(CLI_DONE);
	}
	store = kp_store_find(keep_bytes_of(argv[1]));
	if (store)
		return cli_store_main(store, argc - 2, argv + 2);
	for (const cli_command *command = cli_commands; command->name; command++)
		if (strcmp(argv[1], command->name) == 0)
			return run_command(command, argc - 2, argv + 2);
	return cli_wrong_use("", "%s: no such command", argv[1]);
}
