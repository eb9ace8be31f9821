/*-------------------------------------------------------------------------
 *
 * bus_transform.h
 *	  The block that a compiled input transformation is: bus_transform.c
 *	  writes it, bus_assemble.c follows it.
 *
 * EbTransformHead; then variables, steps of paths, nodes, strings, in no
 * certain order.  All offsets count from the start of the block and are
 * multiples of four.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EB_BUS_TRANSFORM_H
#define EB_BUS_TRANSFORM_H

#include "bus/bus.h"
#include "bus/bus_template.h"

typedef enum EbTransformSource
{
	FROM_PATH,
	FROM_RULE_NAME,
	FROM_RULE_ARN,
	FROM_BUS_NAME,
	FROM_EVENT,					/* envelope without detail */
	FROM_EVENT_JSON,			/* whole envelope */
	FROM_INGESTION_TIME
} EbTransformSource;

typedef struct EbTransformHead
{
	EbTransform pub;
	uint32		root;			/* EbTransformNode */
	uint32		nvariables;
	uint32		variables;		/* EbTransformVariable[nvariables] */
	uint8		on_missing;
	bool		for_bus;
} EbTransformHead;

typedef struct EbTransformVariable
{
	uint32		source;
	uint32		name;			/* C string: of a path its text, for messages */
	uint32		nsteps;
	uint32		steps;			/* EbTransformStep[nsteps] */
} EbTransformVariable;

typedef struct EbTransformStep
{
	uint32		key;			/* bytes; 0: array index */
	uint32		key_len;		/* or the index */
} EbTransformStep;

/* A literal's bytes follow it; a variable's number is in count. */
typedef struct EbTransformNode
{
	uint32		kind;			/* EbTemplateKind */
	uint32		count;			/* children; literal: bytes */
	JEntry		type;			/* literal */
} EbTransformNode;

/* Children of an object, after its EbTransformNode; those of others are bare offsets. */
typedef struct EbTransformField
{
	uint32		key;
	uint32		key_len;
	uint32		value;			/* EbTransformNode */
} EbTransformField;

/*
 * Apply with made-up values for all paths (awkward strings, containers, none
 * at all) and check that each result survives the way through JSON text.
 */
extern void eb_transform_dry_run(const EbTransform *transform);

#endif							/* EB_BUS_TRANSFORM_H */
