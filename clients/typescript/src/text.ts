// Text in the form in which a server accepts it.

/** The text with U+FFFD in place of each lone surrogate, which UTF-8 cannot express. */
export function wellFormed(text: string): string {
  return text.replace(/\p{Surrogate}/gu, "\uFFFD");
}

/** A value as JSON without lone surrogates; `undefined` if it has no JSON. */
export function wellFormedJson(value: unknown): string | undefined {
  // Only lone surrogates are escaped. An escaped backslash is matched as well, so that what follows it is not.
  return JSON.stringify(value)?.replace(/\\\\|\\ud[89a-f][0-9a-f]{2}/g, (escape) =>
    escape === "\\\\" ? escape : "\uFFFD",
  );
}

/** The size of a text in bytes. */
export function sizeOf(text: string): number {
  return new TextEncoder().encode(text).length;
}

/** The beginning of a text: at most so many bytes, and no part of a character. */
export function cut(text: string, most: number): string {
  return text.slice(0, new TextEncoder().encodeInto(text, new Uint8Array(most)).read);
}
