// Made by tools/answer_types.py from rbkit_websocket/protocol/commands: change it there, and run that again.

/** Name, label, file, the line on which the function begins, the line that was executing. */
export type StackFrame = readonly [string, string, string, number, number];

/** `hub` is the event loop itself; `lock` whatever another greenlet has to release: lock, event, queue, join. */
export type WaitingOn = "socket" | "sleep" | "zeromq" | "threadpool" | "hub" | "lock";

/** A thread. */
export interface ThreadState {
  /** Its identity. */
  readonly id: number;
  /** As `threading` knows it, else `thread` and its identity. */
  readonly name: string;
  /** The kernel's; null where it is not known. */
  readonly native_id: number | null;
  /** `running` is on a processor or about to be. */
  readonly state: "running" | "waiting" | "unknown";
  /**
   * The name of the request that the stack belongs to, from its begin until its body has been sent. gunicorn and pywsgi
   * tell that of every request. Under other servers it is null for those that began before somebody watched: sampled,
   * or sent this command within the time to linger.
   */
  readonly request: string | null;
  /** Seconds since that began. */
  readonly request_age: number | null;
  /**
   * Innermost frame first. Of more than 257 frames these are the innermost and the outermost 128, and between them one
   * whose name and label are `(… N frames …)`, in no file, for the N that are left out.
   */
  readonly stack: readonly StackFrame[];
}

/** A greenlet. It serves a whole connection, so its `age` is mostly that of the connection. */
export interface GreenletState {
  /** Its identity. */
  readonly id: number;
  /** What it has been named and what it runs, or its class; `main` for a thread's own. */
  readonly name: string;
  /** Identity of the thread that it belongs to; null where that is not known. */
  readonly thread: number | null;
  /**
   * `running`: its thread's current one, be it blocked in C; `new`: not begun yet. One whose own function is compiled
   * (`gevent.spawn(event.wait)`) has no frames, and waits unless its thread has none either.
   */
  readonly state: "running" | "waiting" | "new";
  /** Judged by the innermost frames; null where it does not wait, or they do not tell. */
  readonly waiting_on: WaitingOn | null;
  /** Seconds since it was spawned; null for raw greenlets and for those spawned before the server started. */
  readonly age: number | null;
  /** As of a thread. */
  readonly request: string | null;
  /** As of a thread. */
  readonly request_age: number | null;
  /** As of a thread. A thread's current greenlet is listed once with the real stack, which its thread has as well. */
  readonly stack: readonly StackFrame[];
}

/** Every thread and greenlet. */
export interface StacksAnswer {
  /** Wall-clock milliseconds. */
  readonly timestamp: number;
  /** As the process itself knows it. */
  readonly pid: number;
  /** The main one first. */
  readonly threads: readonly ThreadState[];
  /** In no order. */
  readonly greenlets: readonly GreenletState[];
  /** How many there are besides, where there are more than 2000. */
  readonly threads_left_out: number;
  /**
   * How many there are besides, where there are more than 2000. Those that run are in here; of the others some are left
   * out evenly.
   */
  readonly greenlets_left_out: number;
  /**
   * What of the process is not in here, for people: other interpreters than the application's, and without the C
   * extension its threads while there are any; null for nothing.
   */
  readonly unseen: string | null;
}

/** A block that lasts still. */
export interface BlockNow {
  /** So far. */
  readonly seconds: number;
  /** The name of the request that it belongs to, if any. */
  readonly request: string | null;
  /** Innermost frame first, as it was when the block passed the limit. */
  readonly stack: readonly StackFrame[];
}

/** What a line called that blocked. */
export interface BlockedBelow {
  /** Blocks. */
  readonly count: number;
  /** Their sum in seconds. */
  readonly total: number;
  /** Seconds of the longest. */
  readonly longest: number;
  /** The frames below the line only, innermost first. */
  readonly stack: readonly StackFrame[];
}

/** Blocks of one request at one line of the application. */
export interface BlockedLine {
  /** The name of the request, if any. */
  readonly request: string | null;
  /** Blocks. */
  readonly count: number;
  /** Their sum in seconds. */
  readonly total: number;
  /** Seconds of the longest. */
  readonly longest: number;
  /** When the most recent was, in wall-clock milliseconds. */
  readonly last: number;
  /** Of the longest, innermost frame first, as it was when the block passed the limit. */
  readonly stack: readonly StackFrame[];
  /**
   * The line's index in `stack`: the innermost frame that is neither Python's nor an installed library's; null where
   * there is none, and then only blocks with the same stack are one entry.
   */
  readonly line: number | null;
  /** What the line called, the longest first; empty where there is no line. */
  readonly inner: readonly BlockedBelow[];
}

/** What has kept the event loop. Where none is known (threads) the answer is the error `not_applicable`. */
export interface BlockedAnswer {
  /**
   * Seconds from which on a block counts at the moment: 0.1 while somebody subscribes or has sent this command within
   * the last 10 s, else `blocked_log`; 0 when nothing is watched.
   */
  readonly limit: number;
  /** `blocked_log`. */
  readonly log_limit: number;
  /** When this server began to count, in wall-clock milliseconds. */
  readonly since: number;
  /** Blocks so far, one that lasts still among them. */
  readonly count: number;
  /** Their sum in seconds. */
  readonly total: number;
  /** Seconds of the longest. */
  readonly longest: number;
  /** The block that lasts still; null where none does. */
  readonly now: BlockNow | null;
  /** What of the process is not watched, for people; null for nothing. */
  readonly unseen: string | null;
  /** The longest first. The 200 stacks that were seen most recently are kept. */
  readonly stacks: readonly BlockedLine[];
}

/** Why a command cannot be done, for programs. */
export type ErrorCode = "bad_argument" | "not_applicable" | "failed" | "refused" | "unknown_snapshot";

/** A command that cannot be done, whichever it is. */
export interface ErrorAnswer {
  /** For programs. */
  readonly error: ErrorCode;
  /** For people. */
  readonly message: string;
}

/** How often samples are taken. */
export interface CpuIntervalAnswer {
  /** The interval in force, in microseconds: the shortest that any client asks for. */
  readonly interval_us: number;
  /**
   * How far two looks at the process are really apart: the Python sampler does not look more often than every 10,000
   * us.
   */
  readonly effective_interval_us: number;
}

/** How CPU samples are taken now. */
export interface CpuStateAnswer extends CpuIntervalAnswer {
  /** Whether the sampler is on. */
  readonly running: boolean;
  /**
   * What published samples are worth, and the `weight_us` of `cpu_profile`: chosen by `use_cpu_time` and
   * `use_wall_time`, by one client for all.
   */
  readonly clock: "cpu" | "wall";
  /** Whether single samples are published. */
  readonly events: boolean;
}

/** Whether waits of requests are sampled. */
export interface WaitProfileAnswer {
  /** Whether this client wants it. */
  readonly wanted: boolean;
  /** Whether it is done, for anybody, since the sampler runs. */
  readonly active: boolean;
}

/**
 * Microseconds of CPU time that watching has taken, whoever asks; the difference of two answers is the cost in between.
 */
export interface WatchingCost {
  /** Wall-clock milliseconds. */
  readonly since: number;
  /** Wall-clock milliseconds. */
  readonly until: number;
  /** Used by the embedded server's thread. */
  readonly server_us: number;
  /** Used by the sampler's own threads. */
  readonly sampler_us: number;
  /**
   * Used in the application's threads: looks, the noting of switches and collections, and, as far as samples tell,
   * sessions, pages and callbacks of this package.
   */
  readonly application_us: number;
}

/** What was sampled of one stack of one thread in one request. */
export interface SampledStack {
  /** Microseconds. */
  readonly wall_us: number;
  /** Microseconds of CPU time. */
  readonly cpu_us: number;
  /** The one or the other, as `clock` says; 0 of a stack that waits where that is `cpu`. */
  readonly weight_us: number;
  /**
   * Whether it is that of a request's greenlet that was parked there, sampled while `wait_profile` is on for any
   * client; it has no CPU time, and its time is no thread's: many greenlets wait at once. All others are what threads
   * were at, a thread that waits (for a lock, for its event loop) among them, with some `wall_us` and no `cpu_us`.
   */
  readonly waiting: boolean;
  /** How many samples. */
  readonly count: number;
  /** The thread's identity. */
  readonly thread: number;
  /** The name of the request; null where it belongs to none. */
  readonly request: string | null;
  /** Indices into `frames` of the answer, innermost frame first. */
  readonly frames: readonly number[];
}

/**
 * What has been sampled since the cursor, added up. Every sample weighs time *and* CPU time, so which of them is looked
 * at is the choice of whoever looks, and so is whether waiting requests are.
 */
export interface CpuProfileAnswer extends CpuIntervalAnswer {
  /** What to send next time, to get what comes after this answer. */
  readonly cursor: number;
  /** Whether the sampler is on. */
  readonly running: boolean;
  /** What `weight_us` is, and what published samples are worth; for old readers. */
  readonly clock: "cpu" | "wall";
  /** Wall-clock milliseconds: what the answer covers. */
  readonly since: number;
  /** Wall-clock milliseconds. */
  readonly until: number;
  /** How many it adds up. */
  readonly samples: number;
  /** Microseconds of all threads, the sum of `wall_us` of the stacks that do not wait. */
  readonly wall_us: number;
  /** Microseconds of CPU time that all threads have used, the sum of the stacks' `cpu_us`. */
  readonly cpu_us: number;
  /** Microseconds of parked greenlets, the sum of `wall_us` of the stacks that wait. */
  readonly waiting_us: number;
  /** The sum of the stacks' `weight_us`. */
  readonly weight_us: number;
  /**
   * Of `wall_us` and `waiting_us`, what was sampled since the cursor and is no longer kept (5 minutes are, or less
   * where stacks are very many).
   */
  readonly lost_us: number;
  /** What it has cost to watch. */
  readonly watching: WatchingCost;
  /** Each line of each function in `stacks`, once. */
  readonly frames: readonly StackFrame[];
  /** Those of the most `wall_us` first. */
  readonly stacks: readonly SampledStack[];
  /** Names of the threads in `stacks`, by identity. */
  readonly threads: Readonly<Record<number, string>>;
  /**
   * What of the process is not sampled at the moment, for people: the threads of other interpreters than the
   * application's; null for nothing.
   */
  readonly unseen: string | null;
}

/**
 * Index of the class in `names`; how many live, at the last census; how many were born and have died since the cursor,
 * exactly, null where that is not known (the class is not traced, or has not been since the cursor); how many of the
 * living are in the collector's oldest generation or frozen, so that they have survived all others.
 */
export type ClassFigures = readonly [number, number, number | null, number | null, number];

/**
 * When it ended, in milliseconds since the epoch; its generation; how long it took, in microseconds; how many objects
 * it freed, and how many it could not free.
 */
export type CollectionFigures = readonly [number, number, number, number, number];

/** Index of the class in `names`, file, line, and how many of those that were made there are alive. */
export type ObjectSite = readonly [number, string, number, number];

/**
 * As in an `object_space_dump` message: `{3: id, 4: class, 5: [id, ...], 8: size, 6: file, 7: line}`, and where the
 * class of an instance is known to be somewhere `16: file` and (Python 3.13 and later) `17: line` of that class; what
 * is not known is left out.
 */
export type PackedObject = Readonly<Record<number, unknown>>;

/** Which objects' begin and end are told, and by which means. */
export interface TraceObjectsAnswer {
  /** What is asked for now; empty when nothing is. */
  readonly patterns: readonly string[];
  /** The means in use. */
  readonly mechanism: "hooks" | "references" | "weak references" | "off";
  /** Whether every instance of every class named is counted, from now on. */
  readonly complete: boolean;
  /** What is not seen, and which part is published; may be empty. */
  readonly note: string;
}

/** The last count of all objects. */
export interface CensusFacts {
  /** When it was done, in milliseconds since the epoch; 0 if there has been none. */
  readonly at_ms: number;
  /** Its processor time in microseconds. */
  readonly took_us: number;
  /** How long until the next, in microseconds. */
  readonly interval_us: number;
  /** How it counts, for people. */
  readonly method: string;
  /** What is wrong with the last count, for people; may be empty. */
  readonly note: string;
}

/** What lives by class, what has come and gone since the cursor, and what the collector did. */
export interface MemoryProfileAnswer {
  /** What to send next time. */
  readonly cursor: number;
  /** Milliseconds since the epoch. */
  readonly timestamp: number;
  /** Microseconds from the cursor to now; 0 without a cursor, or with one that is not known (any more). */
  readonly span_us: number;
  /** Whether begin and end of objects are traced (`start_memory_profile`, `trace_objects`). */
  readonly running: boolean;
  /** Of classes (`app.models.User`, builtins bare). */
  readonly names: readonly string[];
  /** Most living first, at most 2000 classes; frozen objects are missing where `census` says so. */
  readonly classes: readonly ClassFigures[];
  /** Of all classes. */
  readonly total_live: number;
  /** When they were counted. */
  readonly census: CensusFacts;
  /** Since the cursor, at most the last 200. */
  readonly collections: readonly CollectionFigures[];
  /** Where those of the followed objects that are alive were made. */
  readonly sites: readonly ObjectSite[];
  /** What `gc_stats` has; `gc_time_ms` since the last such message. */
  readonly gc: Readonly<Record<string, number>>;
}

/** What is known of each snapshot. */
export interface SnapshotFacts {
  /** The snapshot's number in this server. */
  readonly id: number;
  /** Whether it is made still. */
  readonly state: "running" | "done" | "failed";
  /** How it is made. */
  readonly method: "fork" | "in-process" | "python";
  /** Why no better method was taken; empty for the best. */
  readonly why: string;
  /** How many; null until it is done. */
  readonly objects: number | null;
  /** How many; null until it is done. */
  readonly chunks: number | null;
  /** Size of all chunks; null until it is done. */
  readonly bytes: number | null;
  /** Objects written. */
  readonly objects_so_far: number;
  /** Objects that the collector knows, as a measure for progress (there will be more); null until known. */
  readonly objects_expected: number | null;
  /** How long the process stood still; null for `python`, which takes many short turns. */
  readonly pause_ms: number | null;
  /** How long it took; null while it runs. */
  readonly duration_ms: number | null;
  /** When it was begun, in milliseconds since the epoch. */
  readonly time: number;
}

/** How far a snapshot is. */
export interface SnapshotAnswer extends SnapshotFacts {
  /** Why it failed; left out if it did not. */
  readonly message?: string;
}

/** Instead of a chunk, while the snapshot is made: ask again. */
export interface SnapshotMakingAnswer extends SnapshotAnswer {
  /** The chunk's number. */
  readonly n: number;
}

/** One chunk of a snapshot that is done. */
export interface SnapshotChunkAnswer {
  /** The snapshot's number in this server. */
  readonly id: number;
  /** The chunk's number, from 0. */
  readonly n: number;
  /** The snapshot's. */
  readonly state: "done";
  /** How many there are. */
  readonly chunks: number;
  /** Objects of the snapshot. */
  readonly total: number;
  /** At most 1000. */
  readonly objects: readonly PackedObject[];
}

/**
 * The payload of a `handshake` message. What goes beyond the protocol are strings, which every old client survives;
 * another server leaves them out.
 */
export interface HandshakeAnswer {
  /** Of the program. */
  readonly rbkit_server_version: string;
  /** `2.1`. */
  readonly rbkit_protocol_version: string;
  /** As the process was started. */
  readonly process_name: string;
  /** The working directory that the process had when the server began; empty if it had been removed. */
  readonly pwd: string;
  /** As the process itself knows it. */
  readonly pid: number;
  /** Whether objects are followed or `gc_stats` are published. */
  readonly object_trace_enabled: 0 | 1;
  /** Whether CPU samples are taken. */
  readonly cpu_profiling_enabled: 0 | 1;
  /** What published samples are worth, or will be from the next start on. */
  readonly clock_type: "wall" | "cpu";
  /** Always the same. */
  readonly cpu_profiling_mode: "sampling";
  /** Names of the commands beyond the protocol, comma separated. */
  readonly extensions: string;
  /** Which kind of server it is. */
  readonly language: "python";
  /** Such as `3.13.1`. */
  readonly python_version: string;
  /** `yes`, or `no` and why the C extension is not in use. */
  readonly native: string;
  /** How samples are really taken, for people. */
  readonly cpu_sampling: string;
  /** Whether single samples are published. */
  readonly cpu_events: "on" | "off";
  /** What a `cpu_sample` stands for, in microseconds. */
  readonly cpu_interval_us: string;
  /** Which server it is. */
  readonly server_id: string;
  /** What people call the application. */
  readonly application: string;
  /** How snapshots are taken, and why not in a better way. */
  readonly heap_snapshot: string;
  /** How objects are seen, and which part of them is published. */
  readonly object_trace: string;
  /** Seconds that profilers go on after the last client has left. Where it is missing they may go on for ever. */
  readonly linger: string;
}

/** What the listing of all servers says of each. Cheap: nothing is counted until it is asked for. */
export interface StatusAnswer {
  /** As the process itself knows it. */
  readonly pid: number;
  /** What people call the application. */
  readonly application: string;
  /** Which server it is. */
  readonly server_id: string;
  /** When the server started, in seconds since the epoch. */
  readonly started: number;
  /** Bytes of memory that the process holds; null where there is no `/proc`. */
  readonly rss: number | null;
  /**
   * Requests of the application now, from the call of its function until their body has been sent (under uWSGI until
   * that function has returned), those for rbkit's own pages and sessions left out; null without the middleware, or
   * with `request_names=False`.
   */
  readonly requests: number | null;
  /** rbkit sessions that this process carries for anybody. */
  readonly sessions: number;
}

/** Nothing. */
export type GoodbyeAnswer = Readonly<Record<string, never>>;

/** What each command answers that has more to say than `ok`; the handshake is a message. */
export interface Answers {
  readonly status: StatusAnswer;
  readonly goodbye: GoodbyeAnswer;
  readonly cpu_profile: CpuProfileAnswer;
  readonly start_cpu_polling: CpuStateAnswer;
  readonly cpu_events: CpuStateAnswer;
  readonly set_cpu_interval: CpuIntervalAnswer;
  readonly wait_profile: WaitProfileAnswer;
  readonly stacks: StacksAnswer;
  readonly blocked: BlockedAnswer;
  readonly trace_objects: TraceObjectsAnswer;
  readonly memory_profile: MemoryProfileAnswer;
  readonly snapshot_start: SnapshotAnswer;
  readonly snapshot_status: SnapshotAnswer;
  readonly snapshot_chunk: SnapshotChunkAnswer | SnapshotMakingAnswer;
}
