// Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html

/** Maximum number of characters of an event: an output of 1 MiB in JSON, with space for escapes. */
const MAX_EVENT_CHARS = 8 * 1024 * 1024;

/** One block of the stream. */
export interface Block {
  id: string;
  name: string;
  data: string;
}

/** An incremental parser for the stream, independent of how the bytes are split. */
export class EventParser {
  #decoder = new TextDecoder();
  #rest = "";
  #block: Block = { id: "", name: "", data: "" };

  /** Returns the blocks that these bytes complete. */
  push(bytes: Uint8Array): Block[] {
    const lines = (this.#rest + this.#decoder.decode(bytes, { stream: true })).split("\n");
    this.#rest = lines.pop() ?? "";
    if (this.#rest.length + this.#block.data.length > MAX_EVENT_CHARS) {
      throw new RangeError("an event without an end");
    }
    const blocks = [];
    for (const line of lines) {
      const text = line.endsWith("\r") ? line.slice(0, -1) : line;
      if (text !== "") {
        this.#line(text);
      } else if (this.#block.id || this.#block.name || this.#block.data) {
        blocks.push(this.#block);
        this.#block = { id: "", name: "", data: "" };
      }
    }
    return blocks;
  }

  #line(line: string): void {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "id") {
      this.#block.id = value;
    } else if (name === "event") {
      this.#block.name = value;
    } else if (name === "data") {
      this.#block.data += (this.#block.data ? "\n" : "") + value;
    }
  }
}
