// One attempt of an operation, as its handler and its worker see it.

import type { ClaimedOperation, HeartbeatRow, Operation } from "./wire.js";

/** The most bytes of a progress; longer ones are cut. */
const MAX_PROGRESS_BYTES = 1024;

/** Why an attempt is to stop before its end. */
export type StopReason = "cancelled" | "timed out" | "lease lost" | "worker stopped";

/** The reason of {@link Attempt.signal} when it is aborted: let it pass through the handler. */
export class CancelledError extends Error {
  override name = "CancelledError";
  readonly reason: StopReason;

  constructor(reason: StopReason) {
    super(`the attempt is to stop: ${reason}`);
    this.reason = reason;
  }
}

/** The attempt has not done its work. Every other error is a failure too, one that may pass. */
export class Failure extends Error {
  override name = "Failure";
  /** Whether another attempt may do better; bad input would only fail again. */
  readonly retryable: boolean;

  constructor(message: string, options: { retryable?: boolean } = {}) {
    super(message);
    this.retryable = options.retryable ?? false;
  }
}

/** One attempt of an operation, as its handler sees it. */
export interface Attempt {
  /** The operation, running. */
  readonly operation: Operation;
  /** What the work needs to know; `null` when there is nothing. */
  readonly input: unknown;
  /** Which attempt this is; 1 for the first. */
  readonly number: number;
  /**
   * The attempt as a span of the trace that the operation belongs to, a `traceparent` of W3C Trace Context; `undefined`
   * when it belongs to none.
   */
  readonly traceparent: string | undefined;
  /**
   * Aborted when the result is no longer wanted: somebody asked to stop the operation, its time is over, its lease was
   * lost, or the worker is being stopped. Hand it to what you call.
   */
  readonly signal: AbortSignal;
  /**
   * Says how far it is, for people: at most 1 KiB, the rest is cut. It goes with the next heartbeat, which comes within
   * a second; of several, the last.
   */
  report(text: string): void;
}

/** @internal An attempt, as its worker sees it. */
export class Held implements Attempt {
  readonly operation: Operation;
  readonly input: unknown;
  readonly number: number;
  readonly traceparent: string | undefined;
  readonly leaseToken: string;
  readonly leaseMs: number;
  /** When the lease was last known to be held, by the clock of this machine. */
  keptAt: number;
  beatAt: number;
  isLost = false;
  progress: string | undefined;
  readonly #controller = new AbortController();
  readonly #changed: () => void;

  constructor(claimed: ClaimedOperation, leaseMs: number, changed: () => void) {
    this.operation = claimed.operation;
    this.input = claimed.input ?? null;
    this.number = claimed.attempt;
    this.traceparent = claimed.traceparent ?? undefined;
    this.leaseToken = claimed.lease_token;
    this.leaseMs = leaseMs;
    // The answer was a moment under way: so much later than the server this worker thinks the lease to end.
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

  report(text: string): void {
    const bytes = new TextEncoder().encode(text);
    // A character that was cut becomes U+FFFD, which goes.
    const cut = new TextDecoder().decode(bytes.slice(0, MAX_PROGRESS_BYTES)).replace(/\uFFFD$/, "");
    this.progress = bytes.length > MAX_PROGRESS_BYTES ? cut : text;
    this.#changed();
  }

  /** Stops it; the first reason counts. */
  end(reason: StopReason): void {
    if (!this.signal.aborted) {
      this.#controller.abort(new CancelledError(reason));
    }
  }

  /** Nothing can be recorded any more. */
  lose(): void {
    this.isLost = true;
    this.end("lease lost");
  }

  /** Why it was stopped. */
  get stopReason(): StopReason | undefined {
    return this.signal.aborted ? (this.signal.reason as CancelledError).reason : undefined;
  }

  /** Its row of a heartbeat, which takes the progress along. */
  heartbeat(): HeartbeatRow {
    const row: HeartbeatRow = { id: this.operation.id, lease_token: this.leaseToken };
    if (this.progress) {
      row.progress = this.progress;
    }
    this.progress = undefined;
    return row;
  }
}
