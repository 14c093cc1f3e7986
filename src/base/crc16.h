/* CRC-16 T10-DIF (polynomial 8BB7h, nothing reflected or inverted): the guard of protection information. */
#ifndef FERRY_BASE_CRC16_H
#define FERRY_BASE_CRC16_H

#include <stddef.h>
#include <stdint.h>

static inline uint16_t crc16_t10dif(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint16_t crc = 0;

	for (size_t i = 0; i < len; i++) {
		crc ^= (uint16_t)(p[i] << 8);
		for (unsigned bit = 0; bit < 8; bit++)
			crc = (uint16_t)(crc << 1 ^ (crc & 0x8000 ? 0x8bb7 : 0));
	}
	return crc;
}

#endif
