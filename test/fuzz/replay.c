/*-------------------------------------------------------------------------
 *
 * replay.c
 *	  Feeds files to a fuzz target, so that the corpus is a test without clang.
 *
 *-------------------------------------------------------------------------
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
	{
		FILE	   *f = fopen(argv[i], "rb");
		uint8_t    *data = malloc(1 << 20);
		uint8_t    *exact;
		size_t		n;

		if (f == NULL || data == NULL)
		{
			perror(argv[i]);
			return 1;
		}
		n = fread(data, 1, 1 << 20, f);
		fclose(f);
		/* as long as its content, so that overruns are seen */
		exact = malloc(n > 0 ? n : 1);
		if (exact == NULL)
			return 1;
		for (size_t k = 0; k < n; k++)
			exact[k] = data[k];
		free(data);
		LLVMFuzzerTestOneInput(exact, n);
		free(exact);
	}
	printf("corpus of %s: %d passed, 0 failed\n", argv[0], argc - 1);
	return 0;
}
