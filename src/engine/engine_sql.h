#ifndef KP_ENGINE_SQL_H
#define KP_ENGINE_SQL_H
/* engine_sql.h - what the SQLite and the PostgreSQL backend do in the same way. */
#include "engine/backend.h"
#include "sql/sql.h"

/* Run a bound statement whose columns are value and path, and collect its rows. */
keep_status kp_engine_collect_rows(kp_sql_stmt *stmt, keep_engine_sink *sink,
				   keep_error *err) KEEP_MUST_CHECK;

#endif
