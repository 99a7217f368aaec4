// One attempt of an operation, as its handler and its worker see it.

import { cut, wellFormed } from "./text.js";
import type { ClaimedOperation, HeartbeatRow, Operation } from "./wire.js";

/** Maximum size of a progress message in bytes; longer ones are cut. */
const MAX_PROGRESS_BYTES = 1024;

/** Why an attempt is stopped early. */
export type StopReason = "cancelled" | "timed out" | "lease lost" | "worker stopped";

/** The reason of {@link Attempt.signal} when it is aborted: let it propagate through the handler. */
export class CancelledError extends Error {
  override name = "CancelledError";
  readonly reason: StopReason;

  constructor(reason: StopReason) {
    super(`the attempt was stopped: ${reason}`);
    this.reason = reason;
  }
}

/** The attempt failed. Every other error is a failure too, one that can be retried. */
export class Failure extends Error {
  override name = "Failure";
  /** Whether another attempt may succeed; invalid input would only fail again. */
  readonly retryable: boolean;

  constructor(message: string, options: { retryable?: boolean } = {}) {
    super(message);
    this.retryable = options.retryable ?? false;
  }
}

/** One attempt of an operation, as its handler sees it. */
export interface Attempt {
  /** The operation, now running. */
  readonly operation: Operation;
  /** The organization of the operation, for workers that work for several. */
  readonly organization: string;
  /** The input; `null` if there is none. */
  readonly input: unknown;
  /** The number of the attempt; 1 for the first. */
  readonly number: number;
  /**
   * The attempt as a span of the trace to which the operation belongs, a `traceparent` of W3C Trace Context;
   * `undefined` if it belongs to none.
   */
  readonly traceparent: string | undefined;
  /**
   * Aborted when the result is no longer wanted: a cancellation was requested, the time limit expired, the lease was
   * lost, or the worker is being stopped. Pass it to the functions that you call.
   */
  readonly signal: AbortSignal;
  /**
   * Reports the progress, for people: at most 1 KiB, the rest is cut. The last report is sent with the next heartbeat,
   * within a second.
   */
  readonly report: (text: string) => void;
}

/** @internal An attempt, as its worker sees it. */
export class Held implements Attempt {
  readonly operation: Operation;
  readonly organization: string;
  readonly input: unknown;
  readonly number: number;
  readonly traceparent: string | undefined;
  readonly leaseToken: string;
  readonly leaseMs: number;
  /** When the lease was last known to be held, by the clock of this machine. */
  keptAt: number;
  beatAt: number;
  isLost = false;
  /**
   * Whether there is an outcome, which is sent until the server has answered: a lease that this worker believes to be
   * lost may still be held.
   */
  hasOutcome = false;
  progress: string | undefined;
  readonly #controller = new AbortController();
  readonly #changed: () => void;

  constructor(claimed: ClaimedOperation, leaseMs: number, changed: () => void) {
    this.operation = claimed.operation;
    this.organization = claimed.organization;
    this.input = claimed.input ?? null;
    this.number = claimed.attempt;
    this.traceparent = claimed.traceparent ?? undefined;
    this.leaseToken = claimed.lease_token;
    this.leaseMs = leaseMs;
    // The answer took a moment to arrive: this worker expects the lease to expire that much later than the server.
    this.keptAt = performance.now();
    this.beatAt = this.keptAt + leaseMs / 3;
    this.#changed = changed;
    if (claimed.cancel_requested) {
      this.end("cancelled");
    }
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** A function of its own, so that handlers may take it out of the attempt. */
  readonly report = (text: string): void => {
    this.progress = cut(wellFormed(text), MAX_PROGRESS_BYTES);
    this.#changed();
  };

  /** Stops it; the first reason counts. */
  end(reason: StopReason): void {
    if (!this.signal.aborted) {
      this.#controller.abort(new CancelledError(reason));
    }
  }

  /** Whether the lease was not lost before. If there is an outcome, the server decides whether it counts. */
  lose(): boolean {
    if (this.isLost || this.hasOutcome) {
      return false;
    }
    this.isLost = true;
    this.end("lease lost");
    return true;
  }

  /** Why it was stopped. */
  get stopReason(): StopReason | undefined {
    return this.signal.aborted ? (this.signal.reason as CancelledError).reason : undefined;
  }

  /** The members that identify the attempt in a row of a heartbeat or settlement. */
  get lease(): { id: string; lease_token: string; organization: string } {
    return { id: this.operation.id, lease_token: this.leaseToken, organization: this.organization };
  }

  /** Its row of a heartbeat, including the progress, which is taken. */
  heartbeat(): HeartbeatRow {
    const { progress } = this;
    this.progress = undefined;
    return progress ? { ...this.lease, progress } : this.lease;
  }
}
