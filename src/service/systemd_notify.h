#ifndef KP_SYSTEMD_NOTIFY_H
#define KP_SYSTEMD_NOTIFY_H
/*
 * systemd_notify.h - tells the service manager how we are (sd_notify(3)'s protocol).
 *
 * Without NOTIFY_SOCKET in the environment, nothing is done and all is well.
 *
 * Threads: any.
 */
#include "service/host.h"

/* Send "READY=1", "STATUS=waiting\nSTOPPING=1", …: lines of NAME=VALUE. A control character of a
   value becomes a blank. INVALID: a NOTIFY_SOCKET that names no socket. */
keep_status kp_systemd_tell(const char *state, keep_error *err) KEEP_MUST_CHECK;
/* "STATUS=<text>" with "READY=1" or "STOPPING=1" as the state of a service says. For `changed` of
   keep_service_options; what cannot be told is logged. */
void kp_systemd_tell_state(keep_service_state state, const char *text);

typedef struct kp_watchdog kp_watchdog;

/* "WATCHDOG=1" in half of WATCHDOG_USEC, as long as keep_service_health is OK. *out is NULL when
   the manager watches nobody, or another process (WATCHDOG_PID). */
keep_status kp_watchdog_start(keep_service *service, kp_watchdog **out,
			      keep_error *err) KEEP_MUST_CHECK;
/* Before keep_service_stop. Accepts a pointer to NULL. */
void kp_watchdog_stop(kp_watchdog **watchdog);

#endif
