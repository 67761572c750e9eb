/* What every C unit test includes: cmocka and the headers it wants first. */
#ifndef LUNODE_TEST_H
#define LUNODE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#endif
