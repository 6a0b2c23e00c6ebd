/*
 * agent_main.c - `keep-agent`: `keep agent` as a program of its own, linked without shared
 * libraries.
 *
 * A container's image may have no library that it needs: it is one file to copy in. It opens
 * folders alone; kp_sql_postgres and what reads its URLs stand here, and refuse.
 *
 * Tests: tests/cli/test_cli_static.py.
 */
#include "cli/cli.h"
#include "sql/sql.h"

#include <signal.h>
#include <string.h>

static keep_status refuse(const kp_sql_options *options, kp_sql_conn **out, keep_error *err)
{
	(void)options;
	*out = NULL;
	return kp_fail(err, KEEP_INVALID,
		       "place: keep-agent opens folders alone; for a server: keep agent");
}

/* Nothing else of it is reached: sql_doors.c calls a driver's other members through a connection,
   and `open` alone makes one, which refuses. */
const kp_sql_driver kp_sql_postgres = {.abi = KP_SQL_DRIVER_ABI,
				       .name = "postgres",
				       .dialect = KP_DIALECT_POSTGRES,
				       .open = refuse};

keep_status kp_postgres_url_read(const char *url, const char *schema, kp_postgres_url *out,
				 keep_error *err)
{
	kp_sql_conn *none = NULL;

	(void)url;
	(void)schema;
	(void)out;
	return refuse(NULL, &none, err);
}

void kp_postgres_url_release(kp_postgres_url *url)
{
	(void)url;
}

static int show_help(void)
{
	puts("keep-agent - keep agent without shared libraries, for session folders\n\n"
	     "Usage:\n  keep-agent FOLDER [--max N] [--lease TIME] [--time-limit TIME] [--kinds "
	     "K,…]\n"
	     "             [--text] [--once] [--mount-safe] -- COMMAND [WORD …]\n\n"
	     "More: keep agent --help");
	return cli_finish_output(CLI_DONE);
}

int main(int argc, char **argv)
{
	cli_hold_descriptors();
	(void)signal(SIGPIPE, SIG_IGN);
	if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
		return show_help();
	if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		printf("keep-agent %s\n", keep_version());
		return cli_finish_output(CLI_DONE);
	}
	return cli_agent_main(argc - 1, argv + 1);
}
