/*
 * cli_man_page.c - `keep manual --man`: keep(1) in scdoc's form, laid out from the descriptions.
 *
 * man/keep.1.scd is this output, committed; a test compares the two.
 *
 * Tests: tests/cli/test_cli_help.py.
 */
#include "cli/cli.h"

#include <ctype.h>

static const char introduction[] =
	"keep(1)\n\n"
	"# NAME\n\nkeep - the durable state of chat agents\n\n"
	"# SYNOPSIS\n\n"
	"*keep* _STORE_ _VERB_ _HOME_ [_WORD_ ...] [--_NAME_ _VALUE_ ...]\n\n"
	"*keep* _COMMAND_ ...\n\n"
	"# DESCRIPTION\n\n"
	"Keep remembers what a chat agent must not forget, through crashes, full disks and second "
	"processes.\n\n"
	"_HOME_ is a folder made by *keep init*, a postgres:// URL, or the URL of one store alone "
	"(sqlite:FILE, file:DIR, memory:, redis://...). It may be left out when KEEP\\_HOME is "
	"set; then the first word is still taken as _HOME_ if it is a URL, or if there is one word "
	"more than the verb takes.\n\n"
	"Options may stand anywhere; *--* ends them. A lone *-* reads a value from standard input. "
	"Results are printed for people; *--json* prints JSON. A failure is one line on standard "
	"error.\n\n";

static const char host[] =
	"# THE HOST\n\n"
	"*keep serve* works in the foreground. On standard output it says, when it accepts "
	"requests, where: \"keep: listening on http://127.0.0.1:7400\". On standard error it says "
	"what goes wrong, one sentence a line, and whom it waits for while another host serves the "
	"home. It never goes into the background and writes no log file.\n\n"
	"What happens to it loses nothing: each step of a message is stored before it counts, and "
	"the next host goes on where this one was, also after SIGKILL.\n\n"
	"It ends with 0 after a signal; with 1 when HOME is no home; with 2 for wrong use; with 3 "
	"when the address may not be listened at (another than loopback without an account, or "
	"without TLS or --behind-proxy) or a file of TLS cannot be used; with 4 when another host "
	"has taken the home over; with 8 when the address is taken, or the server of the home is "
	"away.\n\n";

static const char signals[] =
	"# SIGNALS\n\n"
	"*SIGTERM, SIGINT, SIGHUP*\n\tEnd a command after what it has begun. *keep serve* takes no "
	"new request, lets the agent's commands finish for --grace-seconds, and ends with 0; "
	"others end with 128 and the number of the signal. The second signal ends a command at "
	"once, which loses nothing that it has acknowledged.\n\n"
	"*SIGPIPE*\n\tIs ignored: a reader that went away is no failure.\n\n";

static const char files[] =
	"# FILES\n\n"
	"A home is a folder, 0700, that belongs to one user:\n\n"
	"*HOME/home.json*\n\tSays that it is a home, and of which version.\n\n"
	"*HOME/vault.key*\n\tThe keys of credentials and sensitive settings, newest first, 0600. "
	"It "
	"is in no backup.\n\n"
	"*HOME/engine/NAME.db*\n\tAn engine; that of every command without --engine is "
	"default.db.\n\n"
	"*HOME/gateway/messages.db*\n\tThe gateway.\n\n"
	"*HOME/mailbox/registry.db, HOME/mailbox/sessions/*\n\tThe mailbox: its registry, and for "
	"each session a folder of its agent group's, which a container may have mounted.\n\n"
	"*HOME/assistant/assistant.db*\n\tThe assistant; beside it the vectors that it searches, "
	"which are made again when they are missing.\n\n"
	"*HOME/serve.lock*\n\tHeld by the host of the home; it says who that is.\n\n"
	"*HOME/stores.txt*\n\tWhich stores the home has, for *keep check*.\n\n"
	"*\\*-guard, \\*-notify, \\*-wal, \\*-shm*\n\tBelong to the database beside them: none may "
	"be "
	"removed while a process runs.\n\n"
	"*HOME/backups/*\n\tBackups, each a folder that is named after its time.\n\n"
	"*keep.service*\n\tThe unit of systemd, for /var/lib/keep. With \"systemctl edit keep\" it "
	"is told the agent's command, in KEEP\\_AGENT.\n\n";

static const char ending[] =
	"# ENVIRONMENT\n\n"
	"*KEEP\\_HOME*\n\tThe home that is used when none is given.\n\n"
	"*KEEP\\_TOKEN*\n\tThe token with which *keep chat* speaks to a service elsewhere.\n\n"
	"*KEEP\\_ENCRYPTION\\_KEY, ENCRYPTION\\_KEY*\n\tThe keys of secrets, newest first, with "
	"commas between them; the first of the two that is there stands in for vault.key.\n\n"
	"*AWS\\_ACCESS\\_KEY\\_ID, AWS\\_SECRET\\_ACCESS\\_KEY, AWS\\_SESSION\\_TOKEN, "
	"AWS\\_REGION, "
	"AWS\\_DEFAULT\\_REGION, AWS\\_ENDPOINT\\_URL\\_S3, AWS\\_ENDPOINT\\_URL, "
	"AWS\\_CA\\_BUNDLE*\n\tFor "
	"backups in a bucket, as other programs of that service read them.\n\n"
	"*USER, LOGNAME*\n\tThe name in *keep chat* when --chat gives none.\n\n"
	"*TMPDIR*\n\tWhere *keep restore* puts what it downloads.\n\n"
	"*TZDIR*\n\tWhere time zones are, instead of /usr/share/zoneinfo.\n\n"
	"*NOTIFY\\_SOCKET, WATCHDOG\\_USEC, WATCHDOG\\_PID*\n\tsystemd's, for *keep serve*.\n\n"
	"The agent's command of *keep serve* and *keep agent* is given *KEEP\\_MESSAGE\\_ID*, "
	"*KEEP\\_MESSAGE\\_SEQ*, *KEEP\\_SESSION* and *KEEP\\_ATTEMPT*; below *keep serve* also "
	"*KEEP\\_CHAT*, *KEEP\\_FOLDER*, *KEEP\\_HOME* and *KEEP\\_URL*, and for a job "
	"*KEEP\\_JOB\\_ID*, *KEEP\\_SCHEDULED\\_FOR*, *KEEP\\_ATTEMPT* and "
	"*KEEP\\_CONVERSATION*.\n\n"
	"# SEE ALSO\n\ndocs/reference/operations.md in Keep's sources, which tells of every "
	"input, result and status, and of the JSON lines; docs/serve.md of the host, docs/http.md "
	"of its interface, docs/README.md of all others.\n";

/* Text in which nothing is markup. */
static void put_plain(const char *text)
{
	if (*text == '-')
		putchar('\\');
	for (; *text; text++) {
		if (*text == '_' || *text == '*' || *text == '\\' || *text == '<' || *text == '#')
			putchar('\\');
		putchar(*text);
	}
}

static void put_term(const char *name, const char *value, const char *sentence)
{
	printf("*");
	put_plain(name);
	printf("*");
	if (value) {
		printf(" ");
		put_plain(value);
	}
	printf("\n\t");
	put_plain(sentence);
	printf("\n\n");
}

static void put_options(const kp_input *inputs, size_t count, bool places)
{
	char name[CLI_NAME_SIZE], option[CLI_NAME_SIZE + 2], value[CLI_NAME_SIZE];

	for (size_t i = 0; i < count; i++) {
		const kp_input *input = &inputs[i];

		if ((input->place > 0) != places)
			continue;
		(void)snprintf(option, sizeof option, "--%s", cli_option_name(input->name, name));
		put_term(places ? cli_value_name(input, value) : option,
			 places || input->kind == KP_KIND_BOOLEAN ? NULL
								  : cli_value_name(input, value),
			 input->sentence);
	}
}

static void put_commands(void)
{
	puts("# COMMANDS\n");
	for (const cli_command *command = cli_commands; command->name; command++) {
		char name[2 * CLI_NAME_SIZE];

		if (!command->sentence)
			continue;
		(void)snprintf(name, sizeof name, "keep %s", command->name);
		put_term(name, command->usage, command->sentence);
		if (command->more) {
			putchar('\t');
			put_plain(command->more);
			puts("\n");
		}
	}
}

static void put_store(const kp_operation_store *store)
{
	const kp_operation *operation;
	char name[CLI_NAME_SIZE];

	printf("# THE STORE ");
	for (const char *at = store->name; *at; at++)
		putchar(toupper((unsigned char)*at));
	printf("\n\n");
	put_plain(store->sentence);
	printf("\n\n");
	for (size_t i = 0; (operation = kp_operation_at(store, i)); i++) {
		printf("## keep %s %s\n\n", store->name, cli_option_name(operation->verb, name));
		put_plain(operation->sentence);
		if (operation->more) {
			putchar(' ');
			put_plain(operation->more);
		}
		printf("\n\n");
		put_options(operation->inputs, operation->input_count, true);
		put_options(operation->inputs, operation->input_count, false);
	}
	printf("## Options of every keep %s command\n\n", store->name);
	put_options(store->settings, store->setting_count, false);
}

static void put_exit_statuses(void)
{
	char number[16];

	puts("# EXIT STATUS\n");
	put_term("0", NULL, "Done.");
	put_term("1", NULL, "The answer is no: not found, not equal, not changed.");
	put_term("2", NULL, "Wrong use of the command.");
	for (int status = KEEP_INVALID; keep_status_name(status)[0] != '?'; status++) {
		(void)snprintf(number, sizeof number, "%d", keep_status_exit(status));
		put_term(number, keep_status_name(status), keep_status_text(status));
	}
	put_term("130, 143", NULL, "Ended by SIGINT or SIGTERM, after finishing what was begun.");
}

void cli_man_page(void)
{
	fputs(introduction, stdout);
	put_commands();
	puts("# OPTIONS OF EVERY STORE\n");
	for (unsigned i = 0; i < CLI_OWN_OPTIONS; i++) {
		char option[CLI_NAME_SIZE];

		(void)snprintf(option, sizeof option, "--%s", cli_own_options[i].name);
		put_term(option, cli_own_options[i].value, cli_own_options[i].sentence);
	}
	for (size_t i = 0; i < kp_store_count(); i++)
		put_store(kp_store_at(i));
	fputs(host, stdout);
	put_exit_statuses();
	fputs(signals, stdout);
	fputs(files, stdout);
	fputs(ending, stdout);
}
