#ifndef KEEP_KEEP_H
#define KEEP_KEEP_H
/*
 * keep/keep.h - everything at once.
 *
 * What it is not: needed. Each header that it names also stands alone, and compiles faster.
 */
#include "keep/base.h"
#include "keep/agent.h"
#include "keep/assistant.h"
#include "keep/assistant_admin.h"
#include "keep/assistant_care.h"
#include "keep/assistant_search.h"
#include "keep/assistant_work.h"
#include "keep/backups.h"
#include "keep/engine.h"
#include "keep/gateway.h"
#include "keep/gateway_accounts.h"
#include "keep/home.h"
#include "keep/log.h"
#include "keep/mailbox.h"
#include "keep/mailbox_registry.h"
#include "keep/operations.h"
#include "keep/schedule.h"
#include "keep/time.h"
#endif
