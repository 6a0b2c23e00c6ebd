/*
 * zone.c - time zones by name: the cache of zones, what their clocks show, and when they show it.
 *
 * A zone is a row of pieces, each with one offset (schedule_private.h). The table of its file gives
 * the pieces until its last change; then the file's POSIX TZ rule gives two changes a year.
 *
 * Invariants:
 *   1. A name is checked before it becomes part of a path: nothing outside the database is opened
 *      through "..", "/" or a dot. What the database's own links point to is the system's business.
 *   2. A zone never changes after it was published in the cache; readers need no lock.
 *   3. The cache holds at most ZONES_MAX zones. One that would be too many replaces one that nobody
 *      holds; if all are held it belongs to its callers alone and its memory goes with the last.
 *   4. kp_zone_piece_at: begin <= time < end, offset differs from that of both neighbours.
 *
 * The cache and its mutex are this module's only mutable globals: the contract wants zones cached,
 * and reading a file on every tick of every schedule would be the alternative.
 *
 * Tests: tests/unit/test_zone.c; zone_oracle.py compares every zone with Python's zoneinfo.
 */
#include "schedule/schedule_private.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define ZONES_MAX 1024
#define FILE_BYTES_MAX ((size_t)1 << 20) /* the largest of tzdata 2025b has 3 599 */
#define FOLDER_DEFAULT "/usr/share/zoneinfo"

static struct {
	pthread_mutex_t lock;
	keep_zone *zones[ZONES_MAX];
	size_t count;
} cache = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---------------------------------------------------------------- names and files */

static bool is_name_byte(char byte)
{
	return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
	       (byte >= '0' && byte <= '9') || byte == '_' || byte == '+' || byte == '-';
}

static keep_status check_name(const char *name, keep_error *err)
{
	size_t len = name ? strnlen(name, KEEP_ZONE_NAME_BYTES_MAX + 1) : 0;

	if (len == 0)
		return kp_fail(err, KEEP_INVALID, "the time zone has no name");
	if (len > KEEP_ZONE_NAME_BYTES_MAX)
		return kp_fail(err, KEEP_INVALID, "the time zone's name is longer than %d bytes",
			       KEEP_ZONE_NAME_BYTES_MAX);
	for (size_t i = 0; i < len; i++) {
		bool between = i > 0 && i + 1 < len && name[i - 1] != '/';

		if (!is_name_byte(name[i]) && !(name[i] == '/' && between))
			return kp_fail(err, KEEP_INVALID,
				       "\"%s\" is not the name of a time zone: byte %zu", name, i);
	}
	return KEEP_OK;
}

static void free_zone(keep_zone *zone)
{
	if (zone)
		kp_free(zone->changes);
	kp_free(zone);
}

/* The bytes of a zone's file. */
static keep_status read_file(const char *folder, const char *name, keep_buffer *out,
			     keep_error *err)
{
	char path[sizeof((keep_zone *)0)->folder + KEEP_ZONE_NAME_BYTES_MAX + 2];
	struct stat about;
	int fd = -1;
	keep_status status;

	snprintf(path, sizeof path, "%s/%s", folder, name);
	status = kp_file_open(AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, &fd, err);
	/* CONFLICT: a part of the path is a file (ENOTDIR), as in "UTC/x". */
	if (status == KEEP_NOT_FOUND || status == KEEP_CONFLICT)
		status = kp_fail(err, KEEP_INVALID, "there is no time zone \"%s\" in %s", name,
				 folder);
	if (status != KEEP_OK)
		return status;
	if (fstat(fd, &about) != 0 || !S_ISREG(about.st_mode))
		status = kp_fail(err, KEEP_INVALID, "\"%s\" is not a time zone", name);
	else
		status = kp_file_read_all(fd, FILE_BYTES_MAX, out, err);
	kp_file_close(&fd);
	return status;
}

static keep_status load_zone(const char *folder, const char *name, keep_zone **out, keep_error *err)
{
	keep_buffer file = KEEP_BUFFER_INIT;
	keep_zone *zone = kp_alloc_zero(sizeof *zone);
	keep_status status;

	if (!zone)
		return kp_fail_memory(err, "a time zone");
	memcpy(zone->name, name, strlen(name) + 1);
	memcpy(zone->folder, folder, strlen(folder) + 1);
	status = read_file(folder, name, &file, err);
	if (status != KEEP_OK)
		goto out;
	status = kp_zone_read(kp_buffer_bytes(&file), zone, err);
	if (status != KEEP_OK)
		status = kp_prefix(err, status, "time zone \"%s\"", name);
out:
	keep_buffer_release(&file);
	if (status != KEEP_OK)
		free_zone(zone);
	else
		*out = zone;
	return status;
}

/* ---------------------------------------------------------------- the cache */

/* All three: the caller holds the lock. */
static keep_zone *find_cached(const char *folder, const char *name)
{
	for (size_t i = 0; i < cache.count; i++) {
		keep_zone *zone = cache.zones[i];

		if (strcmp(zone->name, name) == 0 && strcmp(zone->folder, folder) == 0)
			return zone;
	}
	return NULL;
}

static bool is_cached(const keep_zone *zone)
{
	for (size_t i = 0; i < cache.count; i++) {
		if (cache.zones[i] == zone)
			return true;
	}
	return false;
}

static void add_cached(keep_zone *zone)
{
	for (size_t i = 0; i < cache.count && cache.count == ZONES_MAX; i++) {
		if (cache.zones[i]->holders > 0)
			continue;
		free_zone(cache.zones[i]);
		cache.zones[i] = cache.zones[--cache.count];
	}
	if (cache.count < ZONES_MAX)
		cache.zones[cache.count++] = zone;
}

keep_status keep_zone_open(const char *name, keep_zone **out, keep_error *err)
{
	const char *folder = getenv("TZDIR");
	keep_zone *loaded = NULL, *zone;
	keep_status status = check_name(name, err);

	*out = NULL;
	if (status != KEEP_OK)
		return status;
	if (!folder || folder[0] == '\0')
		folder = FOLDER_DEFAULT;
	if (strlen(folder) >= sizeof loaded->folder)
		return kp_fail(err, KEEP_INVALID, "TZDIR is too long");
	pthread_mutex_lock(&cache.lock);
	zone = find_cached(folder, name);
	if (zone)
		zone->holders++;
	pthread_mutex_unlock(&cache.lock);
	if (!zone) {
		/* Read without the lock; another thread may have been faster. */
		status = load_zone(folder, name, &loaded, err);
		if (status != KEEP_OK)
			return status;
		pthread_mutex_lock(&cache.lock);
		zone = find_cached(folder, name);
		if (!zone) {
			zone = loaded;
			loaded = NULL;
			add_cached(zone);
		}
		zone->holders++;
		pthread_mutex_unlock(&cache.lock);
		free_zone(loaded);
	}
	*out = zone;
	return KEEP_OK;
}

void keep_zone_close(keep_zone **zone)
{
	keep_zone *held = zone ? *zone : NULL;
	bool is_last;

	if (!held)
		return;
	*zone = NULL;
	pthread_mutex_lock(&cache.lock);
	is_last = --held->holders == 0 && !is_cached(held);
	pthread_mutex_unlock(&cache.lock);
	if (is_last)
		free_zone(held);
}

void keep_zone_forget(void)
{
	pthread_mutex_lock(&cache.lock);
	for (size_t i = cache.count; i-- > 0;) {
		if (cache.zones[i]->holders > 0)
			continue;
		free_zone(cache.zones[i]);
		cache.zones[i] = cache.zones[--cache.count];
	}
	pthread_mutex_unlock(&cache.lock);
}

const char *keep_zone_name(const keep_zone *zone)
{
	return zone->name;
}

/* ---------------------------------------------------------------- pieces */

/* How many changes are at `time` or earlier. */
static size_t count_changes_until(const keep_zone *zone, int64_t time)
{
	size_t low = 0, high = zone->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (zone->changes[middle].time <= time)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The offset after the first `count` changes. */
static int64_t offset_after(const keep_zone *zone, size_t count)
{
	return count > 0 ? zone->changes[count - 1].offset : zone->first_offset;
}

/* Cut the last piece of the table, which *piece is, by the yearly changes around `time`. */
static void apply_yearly_rule(const keep_zone *zone, int64_t time, kp_zone_piece *piece)
{
	kp_zone_change near[9] = {{.time = piece->begin, .offset = piece->offset}};
	int year = kp_date_of_days(kp_floor_divide(time, KP_DAY_S)).year;
	size_t count = 1;

	/* From two years before: in the first of them `near[0]` may be an offset long gone. */
	for (int i = -2; i <= 1; i++) {
		kp_zone_change changes[2];

		/* The last one may yet be taken back by another at once. */
		if (count > 2 && near[count - 2].time > time)
			break;
		kp_zone_yearly_changes(zone, year + i, changes);
		for (size_t c = 0; c < 2; c++) {
			if (changes[c].time <= piece->begin)
				continue;
			/* Two at once are one; "summer all year" has such. */
			if (near[count - 1].time == changes[c].time)
				count--;
			if (near[count - 1].offset != changes[c].offset)
				near[count++] = changes[c];
		}
	}
	for (size_t i = 1; i < count; i++) {
		if (near[i].time > time) {
			piece->end = near[i].time;
			return;
		}
		*piece = (kp_zone_piece){
			.begin = near[i].time,
			.end = KP_SECONDS_AFTER_ALL,
			.offset = near[i].offset,
			.before = near[i - 1].offset,
		};
	}
}

void kp_zone_piece_at(const keep_zone *zone, int64_t time, kp_zone_piece *out)
{
	size_t count = count_changes_until(zone, time);

	*out = (kp_zone_piece){
		.begin = count > 0 ? zone->changes[count - 1].time : KP_SECONDS_BEFORE_ALL,
		.end = count < zone->count ? zone->changes[count].time : KP_SECONDS_AFTER_ALL,
		.offset = offset_after(zone, count),
		.before = offset_after(zone, count > 0 ? count - 1 : 0),
	};
	if (count == zone->count && zone->yearly)
		apply_yearly_rule(zone, time, out);
}

/* ---------------------------------------------------------------- local times */

static keep_status check_range(int64_t time_ms, keep_error *err)
{
	if (time_ms < KEEP_TIME_MIN || time_ms > KEEP_TIME_MAX)
		return kp_fail(err, KEEP_INVALID,
			       "the time %lld ms is not in the years 0001 to 9999",
			       (long long)time_ms);
	return KEEP_OK;
}

keep_status keep_zone_local(const keep_zone *zone, int64_t time_ms, int64_t *local_ms,
			    keep_error *err)
{
	kp_zone_piece piece;
	keep_status status = check_range(time_ms, err);

	*local_ms = 0;
	if (status != KEEP_OK)
		return status;
	kp_zone_piece_at(zone, kp_floor_divide(time_ms, 1000), &piece);
	*local_ms = time_ms + piece.offset * 1000;
	return KEEP_OK;
}

keep_status keep_zone_resolve(const keep_zone *zone, int64_t local_ms, keep_local_times *out,
			      keep_error *err)
{
	keep_status status = check_range(local_ms, err);
	int64_t local = kp_floor_divide(local_ms, 1000);
	int64_t fraction_ms = local_ms - local * 1000;
	int64_t until = local + 26 * 3600 + 1;
	size_t found = 0;
	kp_zone_piece piece = {.end = local - 26 * 3600 - 1};

	*out = (keep_local_times){.kind = KEEP_LOCAL_ONCE};
	if (status != KEEP_OK)
		return status;
	/* No offset is more than 26 hours, so the pieces around have every answer. */
	do {
		int64_t time;

		kp_zone_piece_at(zone, piece.end, &piece);
		time = local - piece.offset;
		if (local >= piece.begin + piece.before && time < piece.begin && found == 0) {
			out->kind = KEEP_LOCAL_NEVER;
			out->first_ms = out->second_ms = piece.begin * 1000;
			out->jump_ms = (piece.offset - piece.before) * 1000;
		}
		if (time < piece.begin || time >= piece.end)
			continue;
		out->second_ms = time * 1000 + fraction_ms;
		if (found++ == 0)
			out->first_ms = out->second_ms;
	} while (piece.end <= until);
	if (found > 0) {
		out->kind = found > 1 ? KEEP_LOCAL_TWICE : KEEP_LOCAL_ONCE;
		out->jump_ms = out->second_ms - out->first_ms;
	}
	return KEEP_OK;
}
