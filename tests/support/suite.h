/*
 * tests/support/suite.h - runs a suite as every test program does
 *
 * In one process: what one test leaves behind is to be seen by the next, and by the sanitizers at
 * the end. The output's form is CK_TAP_LOG_FILE_NAME's (see tests/meson.build).
 */
#pragma once

#include <check.h>
#include <stdlib.h>

/* Takes the suite. Return: the program's exit status. */
static inline int suite_run(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    int n_failed;

    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_ENV);
    n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
