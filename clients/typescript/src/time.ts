// Pauses, and signals that abort them.

/** The maximum delay of a timer: a longer one would end at once. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1;
/** The first pause if the server requested no time; further ones double. */
const FIRST_PAUSE_MS = 200;
/** No pause is longer, whatever the server requests: a caller that wants to wait longer can do so. */
const LONGEST_PAUSE_MS = 30_000;

/**
 * How long to pause before repetition number `repetition` (0 for the first): as the server requested, or growing, half
 * of it random, so that many clients do not come back at once. A server that asks for no pause at all gets one too:
 * `wait`, `watch` and workers repeat their calls without a limit.
 */
export function pauseMs(asked: number | undefined, repetition: number): number {
  if (asked) {
    return Math.min(asked, LONGEST_PAUSE_MS);
  }
  const longest = Math.min(FIRST_PAUSE_MS * 2 ** Math.min(repetition, 20), LONGEST_PAUSE_MS);
  return longest * (0.5 + Math.random() / 2);
}

/** Waits; rejects with the signal's reason if it is aborted. */
export function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const aborted = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", aborted);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", aborted, { once: true });
  });
}

/** A duration in the wire format: seconds with an `s`, to the millisecond; servers refuse more than nine decimals. */
export function durationText(milliseconds: number): string {
  return `${Math.round(milliseconds) / 1000}s`;
}

/** The milliseconds of a duration such as `1.5s`. */
export function durationMs(text: string): number {
  return Number(text.replace(/s$/, "")) * 1000;
}
