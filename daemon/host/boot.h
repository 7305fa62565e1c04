#pragma once

/* What tells this boot of the machine from all others; "unknown" where the kernel does not say. */
void boot_read_id(char ret[64]);
