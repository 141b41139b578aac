"""A chain of Dynamixel servos at the far end of a pty, speaking Protocol 2.0.

Packets: FF FF FD 00, ID, length (u16), instruction, parameters, CRC-16 (polynomial 0x8005), as in
ROBOTIS' e-manual, "Protocol 2.0". Written against that text, not against the SDK.
"""

import os
import pty
import select
import struct
import threading
import tty

HEADER = b"\xff\xff\xfd\x00"
PING, READ, WRITE, STATUS, SYNC_READ = 0x01, 0x02, 0x03, 0x55, 0x82
TORQUE_ENABLE, PRESENT_POSITION = 64, 132


def crc16(data):
    value = 0
    for byte in data:
        value ^= byte << 8
        for _ in range(8):
            value = ((value << 1) ^ 0x8005 if value & 0x8000 else value << 1) & 0xFFFF
    return value


def packet(servo, body):
    head = HEADER + bytes([servo]) + struct.pack("<H", len(body) + 2) + body
    return head + struct.pack("<H", crc16(head))


class Chain:
    """Servos by ID, their control tables as bytes; `path` is the port to open."""

    def __init__(self, positions):
        self.tables = {}
        for servo, counts in positions.items():
            self.tables[servo] = bytearray(200)
            self.tables[servo][TORQUE_ENABLE] = 1
            self.put(servo, counts)
        self.mute = set()
        self.corrupt = False
        self.requests = []
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def put(self, servo, counts):
        struct.pack_into("<i", self.tables[servo], PRESENT_POSITION, counts)

    def torque(self, servo):
        return self.tables[servo][TORQUE_ENABLE]

    def close(self):
        self._stopping.set()
        self._thread.join()
        os.close(self._master)
        os.close(self._slave)

    def _serve(self):
        waiting = b""
        while not self._stopping.is_set():
            if not select.select([self._master], [], [], 0.05)[0]:
                continue
            waiting += os.read(self._master, 4096)
            while len(waiting) >= 7:
                assert waiting.startswith(HEADER), waiting
                size = 7 + struct.unpack_from("<H", waiting, 5)[0]
                if len(waiting) < size:
                    break
                request, waiting = waiting[:size], waiting[size:]
                assert struct.unpack("<H", request[-2:])[0] == crc16(request[:-2])
                self._answer(request[4], request[7], request[8:-2])

    def _answer(self, servo, instruction, parameters):
        self.requests.append((servo, instruction))
        if instruction == SYNC_READ:
            address, size = struct.unpack_from("<HH", parameters)
            for one in parameters[4:]:
                self._status(one, bytes(self.tables[one][address : address + size]))
        elif servo not in self.tables:
            return
        elif instruction == WRITE:
            (address,) = struct.unpack_from("<H", parameters)
            self.tables[servo][address : address + len(parameters) - 2] = parameters[2:]
            self._status(servo, b"")
        elif instruction == READ:
            address, size = struct.unpack_from("<HH", parameters)
            self._status(servo, bytes(self.tables[servo][address : address + size]))
        elif instruction == PING:
            self._status(servo, struct.pack("<HB", 1200, 46))

    def _status(self, servo, parameters):
        if servo in self.mute:
            return
        answer = packet(servo, bytes([STATUS, 0]) + parameters)
        if self.corrupt:
            answer = answer[:-1] + bytes([answer[-1] ^ 0xFF])
        os.write(self._master, answer)
