/*-------------------------------------------------------------------------
 *
 * errors.h
 *	  Error families that several modules raise, worded once.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EB_ERRORS_H
#define EB_ERRORS_H

#include "compat.h"

/* ERRCODE_UNDEFINED_OBJECT: kind "name" does not exist; hint may be NULL. */
pg_noreturn extern void eb_error_missing(const char *kind, const char *name,
										 const char *hint);

/* ERRCODE_DUPLICATE_OBJECT: kind "name" already exists. */
pg_noreturn extern void eb_error_exists(const char *kind, const char *name);

/* ERRCODE_NULL_VALUE_NOT_ALLOWED: argument of function must not be null. */
pg_noreturn extern void eb_error_null(const char *argument);

/*
 * Names of buses, queues, archives ...: letters, digits, "_" and "-", at most
 * 48 characters.  Raises ERRCODE_INVALID_NAME or ERRCODE_NAME_TOO_LONG.
 */
#define EB_NAME_MAX 48
extern void eb_check_name(const char *kind, const char *name);

#endif							/* EB_ERRORS_H */
