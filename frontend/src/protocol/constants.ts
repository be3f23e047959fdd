/** Keys of the integer-keyed maps of protocol 2.1 (docs/protocol.rst). */
export const Field = {
  type: 0,
  timestamp: 1,
  payload: 2,
  objectId: 3,
  className: 4,
  references: 5,
  file: 6,
  line: 7,
  size: 8,
  counter: 9,
  correlation: 10,
  total: 11,
  methodName: 12,
  label: 13,
  singleton: 14,
  thread: 15,
  classFile: 16,
  classLine: 17,
} as const;

export const EventType = {
  objectCreated: 0,
  objectDestroyed: 1,
  gcStart: 2,
  gcEndMark: 3,
  gcEndSweep: 4,
  objectSpaceDump: 5,
  gcStats: 6,
  collection: 7,
  handshake: 8,
  cpuSample: 9,
} as const;
