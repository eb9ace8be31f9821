/*-------------------------------------------------------------------------
 *
 * shmem.c
 *	  Shared memory: one block, a section per module.
 *
 * With preload the block comes from the main shared memory segment; from
 * PostgreSQL 17 on, a backend that finds the library not preloaded takes it
 * from the DSM registry.  The layout number at its head tells a library that
 * was upgraded on disk from the one that made the block.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "compat.h"
#include "eb.h"
#include "shmem.h"

#ifdef EB_HAVE_DSM_REGISTRY
#include "storage/dsm_registry.h"
#endif

#define LAYOUT_VERSION	1
#define BLOCK_NAME		"pg_eventbus"

typedef struct SharedBlock
{
	uint32		layout;
	int			tranche;
	int			max_queues;		/* sizes depend on it */
	Size		offset[EB_SHMEM_SECTIONS];
} SharedBlock;

typedef struct SectionDef
{
	EbShmemSection section;
	Size		(*size) (void);
	void		(*init) (void *section);
} SectionDef;

static const SectionDef sections[] = {
	{EB_SHMEM_CLOCK, eb_clock_shmem_size, eb_clock_shmem_init},
	{EB_SHMEM_CATALOG, eb_catalog_shmem_size, eb_catalog_shmem_init},
	{EB_SHMEM_HORIZON, eb_horizon_shmem_size, eb_horizon_shmem_init},
	{EB_SHMEM_QUEUE, eb_queue_shmem_size, eb_queue_shmem_init},
	{EB_SHMEM_RULESET, eb_ruleset_shmem_size, eb_ruleset_shmem_init},
	{EB_SHMEM_WORKER, eb_worker_shmem_size, eb_worker_shmem_init},
	{EB_SHMEM_ONCE, eb_once_shmem_size, eb_once_shmem_init},
};

static SharedBlock *block = NULL;
static bool preloaded = false;
static bool looked = false;		/* without preload: tried the registry */

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

static Size
block_size(void)
{
	Size		size = MAXALIGN(sizeof(SharedBlock));

	for (int i = 0; i < (int) lengthof(sections); i++)
		size = add_size(size, CACHELINEALIGN(sections[i].size()));
	return add_size(size, PG_CACHE_LINE_SIZE);
}

static void
block_init(void *ptr)
{
	SharedBlock *b = ptr;
	Size		offset = CACHELINEALIGN(sizeof(SharedBlock));

	memset(b, 0, block_size());
	b->layout = LAYOUT_VERSION;
	b->max_queues = eb_max_queues;
	b->tranche = LWLockNewTrancheId();
	for (int i = 0; i < (int) lengthof(sections); i++)
	{
		b->offset[sections[i].section] = offset;
		offset += CACHELINEALIGN(sections[i].size());
	}

	/* an initialiser may ask for its section, or for the tranche */
	block = b;
	for (int i = 0; i < (int) lengthof(sections); i++)
		sections[i].init((char *) b + b->offset[sections[i].section]);
}

static void
request_shmem(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	RequestAddinShmemSpace(block_size());
}

static void
startup_shmem(void)
{
	bool		found;
	void	   *ptr;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	/* after a crash this runs again in the postmaster: start from nothing */
	block = NULL;
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	ptr = ShmemInitStruct(BLOCK_NAME, block_size(), &found);
	if (!found)
		block_init(ptr);
	block = ptr;
	LWLockRelease(AddinShmemInitLock);
	LWLockRegisterTranche(block->tranche, BLOCK_NAME);
}

void
eb_shmem_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	preloaded = true;
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request_shmem;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup_shmem;
}

bool
eb_preloaded(void)
{
	return preloaded;
}

int
eb_shmem_tranche(void)
{
	Assert(block);
	return block->tranche;
}

/*
 * Without preload, take the block from the DSM registry where there is one.
 * eb.max_queues cannot differ between backends: it is fixed at start, and
 * without preload nobody can have changed its default.
 */
static void
find_block(void)
{
	looked = true;
#ifdef EB_HAVE_DSM_REGISTRY
	if (!preloaded && IsUnderPostmaster)
	{
		bool		found;
		SharedBlock *b = GetNamedDSMSegment(BLOCK_NAME, block_size(), block_init, &found);

		if (b->layout == LAYOUT_VERSION && b->max_queues == eb_max_queues)
		{
			block = b;
			LWLockRegisterTranche(b->tranche, BLOCK_NAME);
		}
		else
			block = NULL;
	}
#endif
}

void *
eb_shmem_section(EbShmemSection section)
{
	if (unlikely(!block && !looked))
		find_block();
	if (!block || block->offset[section] == 0)
		return NULL;
	return (char *) block + block->offset[section];
}
