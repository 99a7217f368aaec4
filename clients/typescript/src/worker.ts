// Workers: they claim operations, run a handler for each, prolong their leases, and record their outcomes.
//
// Execution is at least once: a handler may get an operation again, for instance when its worker was disconnected. Make
// repetitions harmless, for instance with the operation's id. Only one outcome is recorded.

import { Failure, Held, type Attempt } from "./attempt.js";
import type { Client } from "./client.js";
import { LongrunError, UnexpectedAnswerError, askedPause, isTransient } from "./errors.js";
import { cut, sizeOf, wellFormed, wellFormedJson } from "./text.js";
import { LONGEST_TIMER_MS, durationMs, pauseMs, sleep } from "./time.js";
import type { ClaimedOperation, ClaimedOperations, HeartbeatRow, SettleRow } from "./wire.js";

/** Maximum number of operations per claim or heartbeat. */
const MAX_ROWS = 1_000;
/** How long progress reports are collected after a heartbeat. */
const PROGRESS_EVERY_MS = 1_000;
/** How long recording outcomes may take after the drain time. */
const LAST_WORDS_MS = 10_000;
/** Maximum size of an output that a server stores, in bytes. */
const MAX_OUTPUT_BYTES = 1024 * 1024;
/** Maximum size of an error message that a server stores whole, in bytes. */
const MAX_ERROR_BYTES = 8 * 1024;
/** How long a server lets a worker wait at most. */
const LONGEST_POLL_MS = 60_000;

/**
 * Runs an attempt and returns the output: text, nothing, or a value that is converted to JSON. No heartbeats are sent
 * while it computes without waiting for anything: long computations belong in a thread (`node:worker_threads`).
 */
export type Handler = (attempt: Attempt) => unknown;

/** The settings of a worker. */
export interface WorkerSettings {
  /** How many operations run at the same time; default: 1. */
  concurrency?: number;
  /**
   * How long the server may wait for work before it answers that there is none; default: 30 s. At least 1 s, at most
   * 60 s and two thirds of the client's `timeoutMs`.
   */
  pollWaitMs?: number;
  /** How long running attempts may continue after `stop`; default: 30 s. Then they are released, uncharged. */
  drainMs?: number;
  /** How long a cancelled handler may take to end; default: 10 s. */
  graceMs?: number;
  /**
   * With a token of the instance, only operations of these organizations are run; default: those of all that the token
   * can reach.
   */
  organizations?: string[];
  /** Called with what does not end the worker, and the error if there is one; default: `console.warn`. */
  warn?: (message: string, error: unknown) => void;
}

type Outcome = Omit<SettleRow, "id" | "lease_token" | "organization">;

/**
 * Runs operations of the kinds that it has handlers for.
 *
 *     const worker = new Worker(client, { concurrency: 4 });
 *     worker.handle("thumbnail", async ({ input, signal }) => { … });
 *     process.on("SIGTERM", () => worker.stop());
 *     await worker.run();
 */
export class Worker {
  readonly #client: Client;
  readonly #settings: Required<Omit<WorkerSettings, "organizations">>;
  readonly #organizations: string[] | undefined;
  readonly #handlers = new Map<string, Handler>();
  readonly #held = new Set<Held>();
  readonly #attempts = new Set<Promise<void>>();
  readonly #stopping = new AbortController();
  readonly #hurry = new AbortController();
  /** Aborted when outcomes that could not be recorded are given up. */
  readonly #over = new AbortController();
  #free: number;
  /** Wakes the loop that waits for a free slot. */
  #freed: () => void = () => {};
  /** Wakes the heartbeats: there is a new operation, or new progress. */
  #changed: () => void = () => {};

  constructor(client: Client, settings: WorkerSettings = {}) {
    const { concurrency = 1, pollWaitMs = 30_000, drainMs = 30_000, graceMs = 10_000, organizations } = settings;
    const warn = settings.warn ?? ((message, error) => console.warn(`longrun: ${message}`, ...(error ? [error] : [])));
    if (!Number.isInteger(concurrency) || concurrency < 1) {
      throw new TypeError("concurrency must be at least 1");
    }
    if (organizations?.length === 0) {
      // To the server, no organization is named, which means all.
      throw new TypeError("organizations is empty; without it, operations of all organizations are run");
    }
    this.#client = client;
    const longest = Math.min(Math.max(pollWaitMs, 1_000), LONGEST_POLL_MS, (client.timeoutMs * 2) / 3);
    this.#settings = { concurrency, pollWaitMs: longest, drainMs, graceMs, warn };
    this.#organizations = organizations;
    this.#free = concurrency;
  }

  /** Also runs operations of this kind. */
  handle(kind: string, handler: Handler): this {
    this.#handlers.set(kind, handler);
    return this;
  }

  /** Stops claiming; running attempts may end within the drain time. A second call releases them at once. */
  stop(): void {
    if (this.#stopping.signal.aborted) {
      this.#hurry.abort();
    }
    this.#stopping.abort();
  }

  /**
   * Works until it is stopped. It waits for a server that is busy or away. A worker can run only once.
   *
   * @throws {ApiError} when the server refuses to give work to this worker: its token is not valid or lacks the scope,
   * or there is no such kind. Running attempts are drained first.
   */
  async run(): Promise<void> {
    if (this.#handlers.size === 0) {
      throw new TypeError("the worker has no handler; add one with worker.handle(kind, handler)");
    }
    const beating = new AbortController();
    const kept = this.#keep(beating.signal);
    try {
      await this.#claimAndStart(this.#stopping.signal);
    } catch (error) {
      if (!this.#stopping.signal.aborted) {
        throw error;
      }
    } finally {
      await this.#drain();
      beating.abort();
      this.#changed();
      await kept;
    }
  }

  async #drain(): Promise<void> {
    const ended = () => Promise.all(this.#attempts);
    await within(ended(), this.#settings.drainMs, this.#hurry.signal);
    for (const held of this.#held) {
      held.end("worker stopped");
    }
    await within(ended(), this.#settings.graceMs + LAST_WORDS_MS);
    for (const { operation } of this.#held) {
      this.#settings.warn(`the outcome of ${operation.id} was not recorded; its lease expires`, undefined);
    }
    this.#over.abort();
  }

  // Claiming.

  async #claimAndStart(signal: AbortSignal): Promise<void> {
    const { pollWaitMs, warn } = this.#settings;
    let hasClaimed = false;
    for (let failures = 0; ; failures++) {
      while (this.#free === 0) {
        await within(new Promise<void>((resolve) => (this.#freed = resolve)), LONGEST_TIMER_MS, signal);
        signal.throwIfAborted();
      }
      // As many as are free now; those that become free while the server waits are filled by the next claim.
      const maxOperations = Math.min(this.#free, MAX_ROWS);
      const askedAt = performance.now();
      let claims: ClaimedOperations;
      try {
        const kinds = [...this.#handlers.keys()];
        const organizations = this.#organizations;
        const request = { kinds, maxOperations, waitMs: pollWaitMs, ...(organizations && { organizations }) };
        claims = await this.#client.claim(request, { signal });
        hasClaimed = true;
      } catch (error) {
        if (signal.aborted || !(isTransient(error) || (hasClaimed && isForeign(error)))) {
          throw error;
        }
        warn("could not claim, trying again", error);
        await sleep(pauseMs(askedPause(error), failures), signal);
        continue;
      }
      for (const claimed of claims.operations) {
        this.#start(claimed, durationMs(claims.lease_duration));
      }
      if (claims.operations.length === 0 && performance.now() - askedAt < pollWaitMs / 2) {
        // A server that is stopping ends the calls of its workers; another one may be available in a moment.
        await sleep(pauseMs(undefined, failures), signal);
      } else {
        failures = -1;
      }
    }
  }

  #start(claimed: ClaimedOperation, leaseMs: number): void {
    const held = new Held(claimed, leaseMs, () => this.#changed());
    this.#held.add(held);
    this.#changed();
    const attempt = this.#run(held, durationMs(claimed.timeout)).finally(() => {
      this.#held.delete(held);
      this.#attempts.delete(attempt);
    });
    this.#attempts.add(attempt);
  }

  // An attempt.

  /** Runs an attempt and waits until its outcome is recorded. Heartbeats prolong its lease until then. */
  async #run(held: Held, limitMs: number): Promise<void> {
    const handler = this.#handlers.get(held.operation.kind);
    this.#free--;
    const running = Promise.resolve()
      .then(() => handler?.(held))
      .then(outcomeOf, (error: unknown) => this.#failureOf(held, error));
    // A handler cannot be killed: its slot is in use as long as it runs.
    void running.then(() => {
      this.#free++;
      this.#freed();
    });
    const outcome = await this.#outcome(held, running, limitMs);
    if (outcome) {
      held.hasOutcome = true;
      await this.#settle(held, outcome);
    }
  }

  /** The outcome of the attempt; nothing if it cannot be recorded because the lease was lost. */
  async #outcome(held: Held, running: Promise<Outcome>, limitMs: number): Promise<Outcome | undefined> {
    const done = await within(running, limitMs, held.signal);
    if (done) {
      return done;
    }
    held.end("timed out");
    const late = await within(running, this.#settings.graceMs);
    const reason = held.stopReason;
    if (held.isLost) {
      return undefined;
    }
    if (reason === "timed out") {
      return failed(`timed out after ${limitMs / 1000} s`, true);
    }
    // It was done before it noticed the cancellation: the result is recorded.
    if (late?.output !== undefined) {
      return late;
    }
    return reason === "worker stopped" ? { release: true } : failed("cancelled", false);
  }

  #failureOf(held: Held, error: unknown): Outcome {
    if (error instanceof Failure) {
      return failed(error.message, error.retryable);
    }
    if (!held.signal.aborted) {
      this.#settings.warn(`the handler of ${held.operation.id} failed`, error);
    }
    return failed(textOf(error), true);
  }

  /**
   * Records an outcome, however long the server is away; one that cannot be sent as a failure that says so
   * (`isRefusal`).
   */
  async #settle(held: Held, outcome: Outcome, isRefusal = false): Promise<void> {
    const { signal } = this.#over;
    const row = { ...held.lease, ...outcome };
    for (let failures = 0; ; failures++) {
      try {
        const [answer] = await this.#client.settle([row], { signal });
        if (answer?.error) {
          this.#settings.warn(`the outcome of ${held.operation.id} was refused`, answer.error);
        }
        return;
      } catch (error) {
        if (signal.aborted) {
          return;
        }
        if (isTransient(error) || isForeign(error)) {
          this.#settings.warn(`could not record the outcome of ${held.operation.id}, trying again`, error);
          await sleep(pauseMs(askedPause(error), failures), signal).catch(() => {});
          continue;
        }
        this.#settings.warn(`the outcome of ${held.operation.id} was refused`, error);
        if (isRefusal || outcome.release) {
          return; // The lease expires.
        }
        const what = outcome.output === undefined ? "error message" : "output";
        return this.#settle(held, failed(`the ${what} was refused: ${textOf(error)}`, false), true);
      }
    }
  }

  // Heartbeats.

  /** Sends heartbeats for all held operations, every third of the lease, and sooner if there is progress. */
  async #keep(stop: AbortSignal): Promise<void> {
    let last = -Infinity;
    while (!stop.aborted) {
      const now = performance.now();
      const held = [...this.#held];
      const late = held.find(({ beatAt, leaseMs }) => now - beatAt >= leaseMs / 3);
      if (late) {
        const seconds = ((now - late.beatAt) / 1_000).toFixed(1);
        this.#settings.warn(`heartbeats are ${seconds} s late: something blocks the event loop`, undefined);
      }
      const progress = held.some((one) => one.progress !== undefined) ? last + PROGRESS_EVERY_MS : Infinity;
      const due = Math.min(progress, ...held.map((one) => one.beatAt));
      if (due > now) {
        const changed = new Promise<void>((resolve) => (this.#changed = resolve));
        await within(changed, Math.min(due - now, LONGEST_TIMER_MS));
        continue;
      }
      last = now;
      for (let start = 0; start < held.length; start += MAX_ROWS) {
        await this.#beat(held.slice(start, start + MAX_ROWS));
      }
    }
  }

  async #beat(held: Held[], hasProgress = true): Promise<void> {
    const rows = held.map((one): HeartbeatRow => (hasProgress ? one.heartbeat() : one.lease));
    const sentAt = performance.now();
    const patience = new AbortController();
    const timer = setTimeout(
      () => patience.abort(new LongrunError("no answer in time")),
      Math.min(...held.map((one) => one.leaseMs)) / 3,
    );
    try {
      const states = await this.#client.heartbeat(rows, { signal: patience.signal });
      held.forEach((one, index) => {
        one.keptAt = sentAt;
        one.beatAt = sentAt + one.leaseMs / 3;
        const error = states[index]?.error;
        if (error) {
          if (one.lose()) {
            this.#settings.warn(`the lease of ${one.operation.id} was lost; its handler is stopped`, error);
          }
        } else if (states[index]?.cancel_requested) {
          one.end("cancelled");
        }
      });
    } catch (error) {
      this.#settings.warn(`heartbeats of ${rows.length} operations failed`, error);
      const maySucceed = patience.signal.aborted || isTransient(error);
      if (!maySucceed && rows.some(({ progress }) => progress)) {
        // The report of one operation must not cost the others their leases.
        return this.#beat(held, false);
      }
      const now = performance.now();
      held.forEach((one, index) => {
        if (maySucceed) {
          // Unless there is a newer one.
          one.progress ??= rows[index]?.progress ?? undefined;
        }
        one.beatAt = now + one.leaseMs / 9;
        // Another worker may have it.
        if (now - one.keptAt >= one.leaseMs && one.lose()) {
          this.#settings.warn(`the lease of ${one.operation.id} has expired; its handler is stopped`, error);
        }
      });
    } finally {
      clearTimeout(timer);
    }
  }
}

/**
 * Whether something between answered, such as a proxy that does not find the server for a moment. One that refuses so
 * large a body would do so again.
 */
function isForeign(error: unknown): boolean {
  return error instanceof UnexpectedAnswerError && error.httpStatus >= 300 && error.httpStatus !== 413;
}

/** The result of the promise, or nothing if the time expires or the signal is aborted before. */
async function within<T>(promise: Promise<T>, milliseconds: number, signal?: AbortSignal): Promise<T | undefined> {
  const over = new AbortController();
  const abort = () => over.abort();
  signal?.addEventListener("abort", abort, { once: true });
  if (signal?.aborted) {
    over.abort();
  }
  const timeout = sleep(Math.min(milliseconds, LONGEST_TIMER_MS), over.signal).then(
    () => undefined,
    () => undefined,
  );
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    over.abort();
    signal?.removeEventListener("abort", abort);
  }
}

function outcomeOf(value: unknown): Outcome {
  let output: string | undefined;
  try {
    output = typeof value === "string" ? wellFormed(value) : value === undefined ? "" : wellFormedJson(value);
  } catch {
    // A cyclic object, or a BigInt.
  }
  if (output === undefined) {
    return failed("the handler's result is neither text nor JSON", false);
  }
  const length = sizeOf(output);
  if (length > MAX_OUTPUT_BYTES) {
    return failed(`the output is ${length} bytes long; at most ${MAX_OUTPUT_BYTES} are allowed`, false);
  }
  return { output };
}

/** A failure, with a message that a server accepts and stores whole. */
function failed(message: string, retryable: boolean): Outcome {
  const text = wellFormed(message);
  const length = sizeOf(text);
  const tail = `… (${length} bytes in all)`;
  const error_message = length > MAX_ERROR_BYTES ? cut(text, MAX_ERROR_BYTES - sizeOf(tail)) + tail : text;
  return { error_message, retryable };
}

/** The text of an error, which may be any value. */
function textOf(error: unknown): string {
  try {
    return String(error);
  } catch {
    return "an error that has no text";
  }
}
