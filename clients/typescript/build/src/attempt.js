// One attempt of an operation, as its handler and its worker see it.
/** The most bytes of a progress; longer ones are cut. */
const MAX_PROGRESS_BYTES = 1024;
/** The reason of {@link Attempt.signal} when it is aborted: let it pass through the handler. */
export class CancelledError extends Error {
    name = "CancelledError";
    reason;
    constructor(reason) {
        super(`the attempt is to stop: ${reason}`);
        this.reason = reason;
    }
}
/** The attempt has not done its work. Every other error is a failure too, one that may pass. */
export class Failure extends Error {
    name = "Failure";
    /** Whether another attempt may do better; bad input would only fail again. */
    retryable;
    constructor(message, options = {}) {
        super(message);
        this.retryable = options.retryable ?? false;
    }
}
/** @internal An attempt, as its worker sees it. */
export class Held {
    operation;
    input;
    number;
    leaseToken;
    leaseMs;
    /** When the lease was last known to be held, by the clock of this machine. */
    keptAt;
    beatAt;
    isLost = false;
    progress;
    #controller = new AbortController();
    #changed;
    constructor(claimed, leaseMs, changed) {
        this.operation = claimed.operation;
        this.input = claimed.input ?? null;
        this.number = claimed.attempt;
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
    get signal() {
        return this.#controller.signal;
    }
    report(text) {
        const bytes = new TextEncoder().encode(text);
        // A character that was cut becomes U+FFFD, which goes.
        const cut = new TextDecoder().decode(bytes.slice(0, MAX_PROGRESS_BYTES)).replace(/\uFFFD$/, "");
        this.progress = bytes.length > MAX_PROGRESS_BYTES ? cut : text;
        this.#changed();
    }
    /** Stops it; the first reason counts. */
    end(reason) {
        if (!this.signal.aborted) {
            this.#controller.abort(new CancelledError(reason));
        }
    }
    /** Nothing can be recorded any more. */
    lose() {
        this.isLost = true;
        this.end("lease lost");
    }
    /** Why it was stopped. */
    get stopReason() {
        return this.signal.aborted ? this.signal.reason.reason : undefined;
    }
    /** Its row of a heartbeat, which takes the progress along. */
    heartbeat() {
        const row = { id: this.operation.id, lease_token: this.leaseToken };
        if (this.progress) {
            row.progress = this.progress;
        }
        this.progress = undefined;
        return row;
    }
}
