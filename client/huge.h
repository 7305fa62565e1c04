#pragma once

/* Transparent huge pages: 2 MiB that the kernel fills, maps and looks up as one page. It makes them at the touch of
 * memory that lies at a multiple of their size in its file and in the address space alike and has been advised, where
 * the settings of the machine allow that; docs/operation.md says which setting is for which backing. */

#include <stddef.h>

#define HUGE_PAGE_SIZE ((size_t)2 << 20)

/* An address for that much at a multiple of the size of huge pages, where nothing is mapped at this moment; another
 * thread may be there first. NULL: no wish, for what is smaller than one, or where there is no such place. */
void *huge_find_place(size_t size);

/* Lets the kernel make huge pages there. Memory that is not wanted whole would swell by it. */
void huge_advise(void *address, size_t size);
/* Has it make huge pages of the small ones that are there; what it cannot stays as it is. */
void huge_collapse(void *address, size_t size);
