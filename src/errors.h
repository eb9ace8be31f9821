/*-------------------------------------------------------------------------
 *
 * errors.h
 *	  Error families that several modules raise, worded once.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EB_ERRORS_H
#define EB_ERRORS_H

/* ERRCODE_UNDEFINED_OBJECT: kind "name" does not exist; hint may be NULL. */
extern void eb_error_missing(const char *kind, const char *name,
							 const char *hint) pg_attribute_noreturn();

/* ERRCODE_DUPLICATE_OBJECT: kind "name" already exists. */
extern void eb_error_exists(const char *kind, const char *name) pg_attribute_noreturn();

/* ERRCODE_NULL_VALUE_NOT_ALLOWED: argument of function must not be null. */
extern void eb_error_null(const char *argument) pg_attribute_noreturn();

/*
 * Names of buses, queues, archives ...: letters, digits, "_" and "-", at most
 * 48 characters.  Raises ERRCODE_INVALID_NAME or ERRCODE_NAME_TOO_LONG.
 */
#define EB_NAME_MAX 48
extern void eb_check_name(const char *kind, const char *name);

#endif							/* EB_ERRORS_H */
