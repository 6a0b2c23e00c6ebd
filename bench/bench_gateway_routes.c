/*
 * bench_gateway_routes.c - resolving a message among 10,000 routes of a chat beside trying each.
 *
 *     bench_gateway_routes FOLDER [ROUTES]
 *
 * The message has about 200 bytes. A side resolves through the library, reads of the version and of
 * the group included; the other tries each route of the same compiled set by itself, which is what
 * a router does that keeps a list of compiled patterns.
 */
#include "bench.h"
#include "gateway/route_match.h"

#include "keep/gateway.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bench {
	keep_gateway *gateway;
	keep_route *routes;
	char (*matches)[80];
	size_t count;
	kp_route_set *set;
	keep_message message;
	bool wants_match;
};

static void must(keep_status status, const keep_error *err)
{
	if (status != KEEP_OK)
		bench_fail("%s: %s", keep_status_name(status), err->message);
}

static const char text[] =
	"Good morning! Could you please have a look at the invoice of last week, the one from the "
	"Ärztekammer about 1,204.50 euros? I think that they have counted the item 7731 twice. "
	"Thank "
	"you, Ada";

static void write_match(const char *type, size_t i, char out[80])
{
	/* What stands before the number and after it. */
	static const char *const patterns[][2] = {{"invoice-[0-9]+-", ""},
						  {"^(?:order|ticket) +", "$"},
						  {"please.*number ", "\\b"},
						  {"(?i)week[a-z]* ", ""}};

	if (strcmp(type, "command") == 0)
		snprintf(out, 80, "/run%zu", i);
	else if (strcmp(type, "prefix") == 0)
		snprintf(out, 80, "Good morning %zu", i);
	else if (strcmp(type, "keyword") == 0)
		snprintf(out, 80, "invoice %zu", i);
	else if (strcmp(type, "sender") == 0)
		snprintf(out, 80, "^(Ada|Grace) [A-Z][a-z]+ %zu$", i);
	else if (strcmp(type, "verb") == 0)
		snprintf(out, 80, "verb%zu", i);
	else
		snprintf(out, 80, "%s%zu%s", patterns[i % 4][0], i, patterns[i % 4][1]);
}

/* All of one type, or of each in turns; the last is a default when something is to match. */
static void fill(struct bench *bench, const char *type, bool matches)
{
	static const char *const types[] = {"command", "prefix", "pattern",
					    "keyword", "sender", "verb"};
	keep_error err = KEEP_ERROR_INIT;

	for (size_t i = 0; i < bench->count; i++) {
		const char *own = type ? type : types[i % 6];

		write_match(own, i, bench->matches[i]);
		bench->routes[i] = (keep_route){.jid = KEEP_BYTES("telegram:42"),
						.type = keep_bytes_of(own),
						.match = keep_bytes_of(bench->matches[i]),
						.target = KEEP_BYTES("main")};
	}
	if (matches)
		bench->routes[bench->count - 1].type = KEEP_BYTES("default");
	bench->wants_match = matches;
	must(keep_gateway_set_routes(bench->gateway, KEEP_BYTES("telegram:42"), bench->routes,
				     bench->count, &err),
	     &err);
	kp_route_set_release(&bench->set);
	must(kp_route_set_make(bench->routes, bench->count, &bench->set, &err), &err);
}

static double resolve(void *ctx, long count)
{
	struct bench *bench = ctx;
	double start = bench_now();

	for (long i = 0; i < count; i++) {
		keep_error err = KEEP_ERROR_INIT;
		keep_memory memory = KEEP_MEMORY_INIT;
		keep_resolution found;

		must(keep_gateway_resolve(bench->gateway, &bench->message, false, &memory, &found,
					  &err),
		     &err);
		if (found.matched != bench->wants_match)
			bench_fail("another answer was expected");
		keep_memory_release(&memory);
	}
	return bench_now() - start;
}

static double try_each(void *ctx, long count)
{
	struct bench *bench = ctx;
	double start = bench_now();

	/* So slow that a twentieth is enough. */
	for (long i = 0; i < count; i += 20) {
		keep_error err = KEEP_ERROR_INIT;
		kp_arena arena = {.head = NULL};
		kp_route_input input;
		size_t at = 0;

		must(kp_route_input_init(&input, &bench->message, &arena, &err), &err);
		while (at < bench->count &&
		       kp_route_set_try(bench->set, at, &input) != KP_VERDICT_YES)
			at++;
		kp_route_input_release(&input);
		kp_arena_release(&arena);
	}
	return (bench_now() - start) * 20;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *what, *type;
		bool matches;
	} cases[] = {
		{"commands, none matches", "command", false},
		{"prefixes, none matches", "prefix", false},
		{"keywords, none matches", "keyword", false},
		{"patterns, none matches", "pattern", false},
		{"senders, none matches", "sender", false},
		{"verbs, none matches", "verb", false},
		{"of all types, none matches", NULL, false},
		{"of all types, the last matches", NULL, true},
	};
	struct bench bench = {.count = argc > 2 ? (size_t)atol(argv[2]) : 10000};
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	keep_error err = KEEP_ERROR_INIT;
	char url[300], what[80];

	if (argc < 2)
		bench_fail("usage: bench_gateway_routes FOLDER [ROUTES]");
	snprintf(url, sizeof url, "sqlite:%s/routes.db", argv[1]);
	options.create = options.relaxed = true;
	must(keep_gateway_open(url, &options, &bench.gateway, &err), &err);
	bench.routes = calloc(bench.count, sizeof *bench.routes);
	bench.matches = calloc(bench.count, sizeof *bench.matches);
	bench.message = (keep_message){.chat_jid = KEEP_BYTES("telegram:42"),
				       .content = KEEP_BYTES(text),
				       .sender = KEEP_BYTES("telegram:7"),
				       .sender_name = KEEP_BYTES("Ada Lovelace")};
	bench_title("Resolving a message (A) beside trying route after route (B)");
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		fill(&bench, cases[i].type, cases[i].matches);
		resolve(&bench, 1); /* compiles */
		snprintf(what, sizeof what, "%zu %s", bench.count, cases[i].what);
		bench_run(&(struct bench_pair){what, "-", "keep", "one by one", resolve, try_each,
					       &bench, &bench, 400, 7, 0});
	}
	kp_route_set_release(&bench.set);
	keep_gateway_close(&bench.gateway);
	free(bench.routes);
	free(bench.matches);
	return 0;
}
