/* UDP sockets with the offloads of udp(7), for the C programs here. */
#include "driver.h"

#define UDP_SEGMENT_OPTION 103 /* linux/udp.h, which glibc may lack */
#define UDP_GRO_OPTION 104
#define SOL_UDP_LEVEL 17
#define RCVBUFFORCE 33

#define SEGMENT_CONTROL_SIZE CMSG_SPACE(sizeof(uint16_t))

static inline struct sockaddr_in
loopback(int port)
{
    struct sockaddr_in name;

    memset(&name, 0, sizeof(name));
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    name.sin_port = htons((uint16_t)port);
    return name;
}

/* Bind, and learn the port. */
static inline void
bind_to(int fd, struct sockaddr_in *name)
{
    socklen_t size = sizeof(*name);

    if (bind(fd, (struct sockaddr *)name, size) < 0
        || getsockname(fd, (struct sockaddr *)name, &size) < 0)
        die("cannot bind");
}

static inline void
coalesce(int fd)
{
    int on = 1;

    if (setsockopt(fd, SOL_UDP_LEVEL, UDP_GRO_OPTION, &on, sizeof(on)) < 0)
        die("UDP_GRO is refused");
}

/* As much as asked for if we may, else what net.core.rmem_max allows. */
static inline void
receive_buffer(int fd, int size)
{
    if (setsockopt(fd, SOL_SOCKET, RCVBUFFORCE, &size, sizeof(size)) < 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
}

/* Have the kernel cut `header` up; `control` is SEGMENT_CONTROL_SIZE. */
static inline void
segment(struct msghdr *header, char *control, uint16_t size)
{
    struct cmsghdr *item;

    header->msg_control = control;
    header->msg_controllen = SEGMENT_CONTROL_SIZE;
    item = CMSG_FIRSTHDR(header);
    item->cmsg_level = SOL_UDP_LEVEL;
    item->cmsg_type = UDP_SEGMENT_OPTION;
    item->cmsg_len = CMSG_LEN(sizeof(size));
    memcpy(CMSG_DATA(item), &size, sizeof(size));
}

/* The size of the segments of a received train, 0 if it is none. */
static inline size_t
segment_size_of(struct msghdr *header)
{
    struct cmsghdr *item = CMSG_FIRSTHDR(header);
    int size;

    for (; item != NULL; item = CMSG_NXTHDR(header, item))
        if (item->cmsg_level == SOL_UDP_LEVEL
            && item->cmsg_type == UDP_GRO_OPTION) {
            memcpy(&size, CMSG_DATA(item), sizeof(size));
            return (size_t)size;
        }
    return 0;
}
