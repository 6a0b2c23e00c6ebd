#ifndef KEEP_SHARED_MAPS_H
#define KEEP_SHARED_MAPS_H
/*
 * shared_maps.h - takes shared maps of files away from this program: its mmap is the program's own.
 *
 * Link shared_maps.c. With no_shared_maps, or KEEP_TEST_NO_MAPS in the environment at the start,
 * MAP_SHARED of a file fails as it does on file systems that have none; shared_maps counts what was
 * asked for.
 */
#include <stdbool.h>

extern bool no_shared_maps;
extern int shared_maps;

#endif
