# Short names for Meson's commands. `make run` and `make test` work on a fresh Debian 12.
#
#   run      build, and show messages on their way to an agent (AGENT="any command") and back
#   tour     the four stores by themselves
#   build    build/keep and build/libkeep.so
#   test     everything that must hold, with PostgreSQL and Redis started by the tests themselves
#   bench    the promised speeds beside the raw library and the obvious alternative, as ratios
#   load     2,000 messages a second into `keep serve` for a minute, with 1,000 event streams open
#   torture  every fault loop to its end     crash  500 kills a backend     fuzz  ten minutes a target
#   chaos    five minutes of the journey with everything killed at random, a backend
#   s3       the S3 client against a server from npm's registry
#   asan tsan valgrind coverage format install clean

BUILD ?= build
SERVERS = tests/support/with_servers.sh
MESON_TEST = meson test --print-errorlogs --no-rebuild -t 3
# `make build` leaves the tests out; to configure again what has them would build them again.
BUILD_TESTS = test -d $(BUILD) || $(call SETUP,$(BUILD),); \
	{ test -d $(BUILD)/tests || meson configure $(BUILD) -Dtests=true; } && \
	ninja -C $(BUILD) --quiet
# Under a slow tool the question is the program's memory and threads: the stores need no disk, and
# limits of time are as many times longer as is said.
SLOWLY = KEEP_TEST_FOLDER=/dev/shm KEEP_TEST_PATIENCE=$(1) $(SERVERS) $(MESON_TEST) -t $(1)
SETUP = meson setup $(1) $(2) >$(1).log 2>&1 || { cat $(1).log; exit 1; }
# GCC's manual advises against -Werror here: what a sanitizer adds to a program misleads warnings.
SANITIZE = -Db_sanitize=$(1) -Db_lundef=false -Dwerror=false

.PHONY: build run tour test bench load torture crash fuzz s3 asan tsan valgrind coverage format install clean

build:
	@./setup.sh build
	@test -d $(BUILD) || $(call SETUP,$(BUILD),-Dtests=false)
	@ninja -C $(BUILD) --quiet

run: build
	@examples/run.sh $(BUILD)/keep

tour: build
	@examples/tour.sh $(BUILD)/keep

test:
	@./setup.sh test
	@$(BUILD_TESTS)
	@$(SERVERS) $(MESON_TEST) -C $(BUILD)

bench:
	@./setup.sh test
	@test -d build-bench || $(call SETUP,build-bench,--buildtype=release -Dbench=true -Dtests=false)
	@ninja -C build-bench --quiet
	@KEEP_TEST_FSYNC=1 $(SERVERS) bench/run.sh build-bench

load:
	@./setup.sh test
	@$(BUILD_TESTS)
	@tests/http/run_load.sh $(BUILD) $(LOAD)

torture:
	@./setup.sh test
	@$(BUILD_TESTS)
	@KEEP_TORTURE=all $(SERVERS) $(MESON_TEST) -v -C $(BUILD) --suite torture -t 0

crash:
	@./setup.sh test
	@$(BUILD_TESTS)
	@KEEP_CRASH_ROUNDS=$${KEEP_CRASH_ROUNDS:-500} KEEP_PROCESS_SECONDS=$${KEEP_PROCESS_SECONDS:-60} \
		$(SERVERS) $(MESON_TEST) -v --num-processes 1 -C $(BUILD) --suite crash -t 0

# Five minutes of everything being killed, for each backend.
chaos:
	@./setup.sh test
	@$(BUILD_TESTS)
	@for kind in sqlite postgres; do \
		KEEP_COMMAND=$(BUILD)/keep KEEP_ROUGH_LIBRARY=$(CURDIR)/$(BUILD)/tests/crash/librough_world.so \
		KEEP_CHAOS_SECONDS=$${KEEP_CHAOS_SECONDS:-300} KEEP_CHAOS_CHATS=$${KEEP_CHAOS_CHATS:-50} \
		$(SERVERS) /usr/bin/python3 tests/crash/journey_chaos.py $$kind || exit 1; \
	done

fuzz:
	@./setup.sh all
	@test -d build-fuzz || { CC=clang; export CC; $(call SETUP,build-fuzz,-Dfuzz=true -Dtests=false); }
	@ninja -C build-fuzz --quiet
	@fuzz/run_targets.sh build-fuzz $${KEEP_FUZZ_SECONDS:-600}

s3:
	@./setup.sh test
	@$(BUILD_TESTS)
	@tests/s3/run_s3rver.sh $(BUILD)/tests/test_s3 $(BUILD)/tests/test_s3_backup

asan:
	@./setup.sh all
	@test -d build-asan || $(call SETUP,build-asan,$(call SANITIZE,address$(comma)undefined))
	@ninja -C build-asan --quiet
	@UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 $(call SLOWLY,5) -C build-asan --no-suite interposed

# ThreadSanitizer does not follow fences: notify.c's stand between atomics alone, which need none to
# be free of races, so GCC's warning is off. A fence beside plain data would be reported as a race.
tsan:
	@./setup.sh all
	@test -d build-tsan || $(call SETUP,build-tsan,$(call SANITIZE,thread) -Dc_args=-Wno-tsan)
	@ninja -C build-tsan --quiet
	@$(call SLOWLY,10) -C build-tsan --suite threads

valgrind:
	@./setup.sh all
	@$(BUILD_TESTS)
	@$(call SLOWLY,20) -C $(BUILD) --suite memcheck \
		--wrap='valgrind -q --error-exitcode=99 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite'

coverage:
	@./setup.sh all
	@test -d build-coverage || $(call SETUP,build-coverage,-Db_coverage=true)
	@find build-coverage -name '*.gcda' -delete # what earlier runs met
	@ninja -C build-coverage --quiet
	@$(SERVERS) $(MESON_TEST) -C build-coverage -t 5
	@gcovr -r . -f src/ build-coverage

format:
	@./setup.sh all
	@git ls-files '*.[ch]' ':!*_records.[ch]' | xargs clang-format -i # the others are recgen's

install: build
	meson install -C $(BUILD)

clean:
	rm -rf build build.log build-*

comma := ,
