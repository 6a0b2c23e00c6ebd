#ifndef KP_GATEWAY_MIGRATE_H
#define KP_GATEWAY_MIGRATE_H
/* gateway_migrate.h - the gateway's own migrations with their hooks, for gateway.c. */
#include "sql/sql.h"

/* Lives in statics but for the struct itself. */
kp_migrations kp_gateway_migrations(kp_sql_dialect dialect);
/* 1 to 64 of a-z 0-9 _ - */
keep_status kp_gateway_check_service(const char *service, keep_error *err) KEEP_MUST_CHECK;

#endif
