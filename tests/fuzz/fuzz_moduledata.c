/* SPDX-License-Identifier: Apache-2.0 */

/* Recorded memory (tests/lib/gomem.h): the search for modules, calibration. */

#include "tests/lib/gomem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct gomem mem;
	struct go_image *image;

	if (!gomem_parse(data, size, &mem))
		return 0;
	image = gomem_image(&mem);
	if (image && (!image->n_modules || !go_image_version(image)[0] ||
		      image->modules[0].tab.nfunc > GO_MAX_FUNCS))
		abort();
	go_image_destroy(image);
	free(mem.bytes);
	return 0;
}
