/* A doubly linked list threaded through its members. Head and links are the same type; empty points at itself. */
#ifndef FERRY_BASE_LIST_H
#define FERRY_BASE_LIST_H

#include "base/bytes.h"

struct list { struct list *prev, *next; };

static inline void list_init(struct list *l) { l->prev = l->next = l; }
static inline bool list_empty(const struct list *l) { return l->next == l; }
static inline void list_push(struct list *head, struct list *n) /* at the tail */
{
	n->prev = head->prev;
	n->next = head;
	head->prev->next = n;
	head->prev = n;
}
static inline void list_del(struct list *n) /* harmless when n is in no list but initialised */
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	list_init(n);
}
static inline struct list *list_pop(struct list *head) /* NULL when empty */
{
	struct list *n = head->next;

	if (n == head)
		return NULL;
	list_del(n);
	return n;
}
#define LIST_ENTRY(p, type, member) CONTAINER_OF(p, type, member)
#define LIST_EACH(head, it) for (struct list *it = (head)->next, *it##_next = it->next; it != (head); \
				 it = it##_next, it##_next = it->next)

#endif
