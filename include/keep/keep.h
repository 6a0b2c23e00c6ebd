#ifndef KEEP_KEEP_H
#define KEEP_KEEP_H
/*
 * keep/keep.h - everything at once.
 *
 * What it is not: needed. Each header that it names also stands alone, and compiles faster.
 */
#include "keep/base.h"
#include "keep/engine.h"
#include "keep/log.h"
#include "keep/operations.h"
#include "keep/schedule.h"
#include "keep/time.h"
#endif
