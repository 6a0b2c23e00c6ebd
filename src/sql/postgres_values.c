/*
 * postgres_values.c - the PostgreSQL driver: values to and from the protocol's binary forms.
 *
 * Everything travels in binary: exact, compact, and texts need no zero byte at their end, so that
 * neither direction copies a value. A parameter's type is declared by its kind, never guessed by
 * the server, so that $1 + 1 is 64 bits wide.
 *
 *   kind   sent as       read from
 *   TEXT   text          text, varchar, char(n), name, "char", json, jsonb
 *   JSON   json          the same
 *   BLOB   bytea         bytea
 *   INT    int8          int2, int4, int8, oid
 *   BOOL   bool          bool, and int2, int4, int8 of 0 or 1
 *   REAL   float8        float4, float8; finite
 *   TIME   timestamptz   timestamptz within KEEP_TIME_MIN..KEEP_TIME_MAX; below a ms is cut
 *
 * Anything else that is stored is not of the kind (numeric too: sum() over bigint needs a cast).
 *
 * Tests: tests/contract/test_postgres_driver.c.
 */
#include "sql/postgres_private.h"

#include <math.h>
#include <string.h>

/* pg_type.dat; fixed for ever, the server's headers are not needed for them. */
enum type {
	TYPE_BOOL = 16,
	TYPE_BYTEA = 17,
	TYPE_CHAR = 18,
	TYPE_NAME = 19,
	TYPE_INT8 = 20,
	TYPE_INT2 = 21,
	TYPE_INT4 = 23,
	TYPE_TEXT = 25,
	TYPE_OID = 26,
	TYPE_JSON = 114,
	TYPE_FLOAT4 = 700,
	TYPE_FLOAT8 = 701,
	TYPE_BPCHAR = 1042,
	TYPE_VARCHAR = 1043,
	TYPE_TIMESTAMPTZ = 1184,
	TYPE_JSONB = 3802
};

/* A timestamptz counts microseconds since 2000-01-01. */
#define EPOCH_MS INT64_C(946684800000)

static void put_int64(int64_t value, char out[8])
{
	uint64_t bits = (uint64_t)value;

	for (int i = 7; i >= 0; i--, bits >>= 8)
		out[i] = (char)(bits & 0xff);
}

static uint64_t get_bits(keep_bytes raw)
{
	uint64_t bits = 0;

	for (size_t i = 0; i < raw.len; i++)
		bits = bits << 8 | (unsigned char)raw.data[i];
	return bits;
}

Oid kp_pg_type_of(kp_kind kind)
{
	switch (kind) {
	case KP_TEXT: return TYPE_TEXT;
	case KP_BLOB: return TYPE_BYTEA;
	case KP_INT: return TYPE_INT8;
	case KP_REAL: return TYPE_FLOAT8;
	case KP_BOOL: return TYPE_BOOL;
	case KP_TIME: return TYPE_TIMESTAMPTZ;
	case KP_JSON: return TYPE_JSON;
	}
	return 0;
}

keep_status kp_pg_encode(const kp_value *value, Oid *type, const char **data, int *len,
			 char number[8], keep_error *err)
{
	int64_t bits;

	*type = kp_pg_type_of(value->kind);
	*data = number;
	*len = 8;
	switch (value->kind) {
	case KP_TEXT:
	case KP_JSON:
	case KP_BLOB:
		if (value->bytes.len > KP_PG_VALUE_MAX)
			return kp_fail(err, KEEP_FULL,
				       "a value of %zu bytes: PostgreSQL holds at most %d",
				       value->bytes.len, KP_PG_VALUE_MAX);
		*data = value->bytes.data;
		*len = (int)value->bytes.len;
		return KEEP_OK;
	case KP_INT: put_int64(value->integer, number); return KEEP_OK;
	case KP_REAL:
		memcpy(&bits, &value->real, sizeof bits);
		put_int64(bits, number);
		return KEEP_OK;
	case KP_BOOL:
		number[0] = value->integer != 0;
		*len = 1;
		return KEEP_OK;
	case KP_TIME:
		if (value->integer < KEEP_TIME_MIN || value->integer > KEEP_TIME_MAX)
			return kp_fail(err, KEEP_INVALID, "a time outside of the years 1 to 9999");
		put_int64((value->integer - EPOCH_MS) * 1000, number);
		return KEEP_OK;
	}
	return kp_fail(err, KEEP_MISUSE, "no such kind of value");
}

static bool decode_integer(Oid type, keep_bytes raw, int64_t *out)
{
	uint64_t bits = get_bits(raw);

	if (type == TYPE_INT8 && raw.len == 8)
		*out = (int64_t)bits;
	else if (type == TYPE_INT4 && raw.len == 4)
		*out = (int32_t)bits;
	else if (type == TYPE_INT2 && raw.len == 2)
		*out = (int16_t)bits;
	else if (type == TYPE_OID && raw.len == 4)
		*out = (int64_t)bits;
	else
		return false;
	return true;
}

static bool decode_bool(Oid type, keep_bytes raw, int64_t *out)
{
	if (type == TYPE_BOOL && raw.len == 1)
		*out = raw.data[0] != 0;
	else if (type == TYPE_OID || !decode_integer(type, raw, out))
		return false;
	return *out == 0 || *out == 1;
}

static bool decode_real(Oid type, keep_bytes raw, double *out)
{
	uint64_t bits = get_bits(raw);
	uint32_t half = (uint32_t)bits;
	float narrow;

	if (type == TYPE_FLOAT8 && raw.len == 8) {
		memcpy(out, &bits, sizeof *out);
	} else if (type == TYPE_FLOAT4 && raw.len == 4) {
		memcpy(&narrow, &half, sizeof narrow);
		*out = (double)narrow;
	} else {
		return false;
	}
	return isfinite(*out);
}

static bool decode_time(Oid type, keep_bytes raw, int64_t *out)
{
	int64_t us, ms;

	if (type != TYPE_TIMESTAMPTZ || raw.len != 8)
		return false;
	us = (int64_t)get_bits(raw);
	ms = us / 1000 - (us % 1000 < 0); /* down, before 2000 too; infinity falls out below */
	*out = ms + EPOCH_MS;
	return *out >= KEEP_TIME_MIN && *out <= KEEP_TIME_MAX;
}

static bool decode_text(Oid type, keep_bytes raw, keep_bytes *out)
{
	switch ((enum type)type) {
	case TYPE_JSONB:
		if (raw.len < 1 || raw.data[0] != 1) /* the version of its binary form */
			return false;
		*out = (keep_bytes){raw.data + 1, raw.len - 1};
		return true;
	case TYPE_TEXT:
	case TYPE_VARCHAR:
	case TYPE_BPCHAR:
	case TYPE_NAME:
	case TYPE_CHAR:
	case TYPE_JSON: *out = raw; return true;
	default: return false;
	}
}

bool kp_pg_decode(Oid type, keep_bytes raw, kp_kind kind, kp_value *out)
{
	switch (kind) {
	case KP_TEXT:
	case KP_JSON: return decode_text(type, raw, &out->bytes);
	case KP_BLOB: out->bytes = raw; return type == TYPE_BYTEA;
	case KP_INT: return decode_integer(type, raw, &out->integer);
	case KP_BOOL: return decode_bool(type, raw, &out->integer);
	case KP_REAL: return decode_real(type, raw, &out->real);
	case KP_TIME: return decode_time(type, raw, &out->integer);
	}
	return false;
}
