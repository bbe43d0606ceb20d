"""Numbers of the io_uring interface.

The system's headers are often older than its kernel, so the numbers stand here. Source: include/uapi/linux/io_uring.h
and the manual pages io_uring_setup(2), io_uring_enter(2), io_uring_register(2). Only what is used is listed.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

# System call numbers, the same on every architecture with the generic table and on x86-64.
SYS_IO_URING_SETUP: Final = 425
SYS_IO_URING_ENTER: Final = 426
SYS_IO_URING_REGISTER: Final = 427

# struct io_uring_sqe, 64 bytes: opcode, flags, ioprio, fd, off, addr, len, op_flags, user_data, buf_index or buf_group,
# personality, file_index, addr3, padding.
SQE: Final = Struct("<BBHiQQIIQHHiQQ")
SQE_SHIFT: Final = 6
# struct io_uring_cqe, 16 bytes: user_data, res, flags.
CQE: Final = Struct("<qiI")
CQE_SHIFT: Final = 4
# struct io_uring_params, 120 bytes: ten words, then the offsets of the submission and of the completion ring.
PARAMS: Final = Struct("<10I 8IQ 8IQ")
# struct io_uring_getevents_arg: sigmask, sigmask size, min_wait_usec, address of a timespec.
GETEVENTS_ARG: Final = Struct("<QIIQ")
# struct __kernel_timespec: seconds, nanoseconds.
TIMESPEC: Final = Struct("<qq")
# struct io_uring_buf without its last half-word, which is the ring's tail in the first entry: address, length, id.
BUFFER: Final = Struct("<QIH")
# struct io_uring_buf_reg: ring address, entries, group, flags, reserved.
BUFFER_RING_REGISTRATION: Final = Struct("<QIHH3Q")

OFFSET_SQ_RING: Final = 0
OFFSET_SQES: Final = 0x10000000

SETUP_CQSIZE: Final = 1 << 3
SETUP_CLAMP: Final = 1 << 4
SETUP_R_DISABLED: Final = 1 << 6
SETUP_SUBMIT_ALL: Final = 1 << 7
SETUP_COOP_TASKRUN: Final = 1 << 8
SETUP_TASKRUN_FLAG: Final = 1 << 9
SETUP_SINGLE_ISSUER: Final = 1 << 12
SETUP_DEFER_TASKRUN: Final = 1 << 13
SETUP_NO_SQARRAY: Final = 1 << 16

RESOURCE_REGISTER_SPARSE: Final = 1 << 0

FEATURE_SINGLE_MMAP: Final = 1 << 0
FEATURE_NODROP: Final = 1 << 1
FEATURE_FAST_POLL: Final = 1 << 5
FEATURE_EXT_ARG: Final = 1 << 8
FEATURE_REG_REG_RING: Final = 1 << 13
FEATURE_NO_IOWAIT: Final = 1 << 17

ENTER_GETEVENTS: Final = 1 << 0
ENTER_EXT_ARG: Final = 1 << 3
ENTER_NO_IOWAIT: Final = 1 << 7

SQ_CQ_OVERFLOW: Final = 1 << 1
SQ_TASKRUN: Final = 1 << 2

# struct io_uring_rsrc_register: places, flags, reserved, data, tags.
RESOURCE_REGISTRATION: Final = Struct("<IIQQQ")
# struct io_uring_rsrc_update2: first place, reserved, data, tags, places, reserved.
RESOURCE_UPDATE: Final = Struct("<IIQQII")
# struct io_uring_files_update: first place, reserved, address of descriptors.
FILES_UPDATE: Final = Struct("<IIQ")
# struct iovec: address, length.
IOVEC: Final = Struct("<QQ")

UNREGISTER_FILES: Final = 3
REGISTER_EVENTFD: Final = 4
REGISTER_FILES_UPDATE: Final = 6
REGISTER_PROBE: Final = 8
REGISTER_ENABLE_RINGS: Final = 12
REGISTER_FILES2: Final = 13
REGISTER_BUFFERS2: Final = 15
REGISTER_BUFFERS_UPDATE: Final = 16
REGISTER_IOWQ_MAX_WORKERS: Final = 19
REGISTER_PBUF_RING: Final = 22
UNREGISTER_PBUF_RING: Final = 23

OP_NOP: Final = 0
OP_FSYNC: Final = 3
OP_READ_FIXED: Final = 4
OP_WRITE_FIXED: Final = 5
OP_POLL_ADD: Final = 6
OP_SENDMSG: Final = 9
OP_RECVMSG: Final = 10
OP_TIMEOUT: Final = 11
OP_ACCEPT: Final = 13
OP_ASYNC_CANCEL: Final = 14
OP_LINK_TIMEOUT: Final = 15
OP_CONNECT: Final = 16
OP_FALLOCATE: Final = 17
OP_OPENAT: Final = 18
OP_CLOSE: Final = 19
OP_STATX: Final = 21
OP_READ: Final = 22
OP_WRITE: Final = 23
OP_SEND: Final = 26
OP_RECV: Final = 27
OP_SPLICE: Final = 30
OP_RENAMEAT: Final = 35
OP_UNLINKAT: Final = 36
OP_MKDIRAT: Final = 37
OP_MSG_RING: Final = 40
OP_SOCKET: Final = 45
OP_SEND_ZC: Final = 47
OP_SENDMSG_ZC: Final = 48
OP_FUTEX_WAIT: Final = 51
OP_FUTEX_WAKE: Final = 52
OP_FTRUNCATE: Final = 55

SQE_FIXED_FILE: Final = 1 << 0
SQE_IO_LINK: Final = 1 << 2
SQE_IO_HARDLINK: Final = 1 << 3
SQE_ASYNC: Final = 1 << 4
SQE_BUFFER_SELECT: Final = 1 << 5
SQE_CQE_SKIP_SUCCESS: Final = 1 << 6

CQE_BUFFER: Final = 1 << 0
CQE_MORE: Final = 1 << 1
CQE_NOTIFICATION: Final = 1 << 3
CQE_BUFFER_SHIFT: Final = 16

ACCEPT_MULTISHOT: Final = 1 << 0
RECVSEND_POLL_FIRST: Final = 1 << 0
RECV_MULTISHOT: Final = 1 << 1
RECVSEND_FIXED_BUF: Final = 1 << 2
SEND_ZC_REPORT_USAGE: Final = 1 << 3
# In the result of a notification.
NOTIFICATION_COPIED: Final = 1 << 31
POLL_ADD_MULTI: Final = 1 << 0
FSYNC_DATASYNC: Final = 1 << 0
TIMEOUT_ABS: Final = 1 << 0
TIMEOUT_ETIME_SUCCESS: Final = 1 << 5

CANCEL_ALL: Final = 1 << 0
CANCEL_FD: Final = 1 << 1
CANCEL_ANY: Final = 1 << 2

AT_FDCWD: Final = -100
#: An offset for what has no positions.
NO_OFFSET: Final = (1 << 64) - 1
AT_EMPTY_PATH: Final = 0x1000
AT_SYMLINK_NOFOLLOW: Final = 0x100
STATX_BASIC_STATS: Final = 0x7FF
STATX_BYTES: Final = 256
