// Asks a person for a secret: nothing is shown, nothing is kept. Only on a terminal.
import type { ReadStream } from "node:tty";
import { CliError } from "./exit.ts";

const CTRL_C = "\u0003";
const BACKSPACE = /[\b\u007f]/;

export type Prompt = (question: string) => Promise<string>;

/** A prompt on that terminal, or undefined when there is none to ask. */
export function hiddenPrompt(stdin: ReadStream, stderr: { write(text: string): unknown; isTTY?: boolean }): Prompt | undefined {
  if (stdin.isTTY !== true || stderr.isTTY !== true) return undefined;
  return (question) =>
    new Promise((done, failed) => {
      let typed = "";
      stdin.setRawMode(true); // before the question: whoever types fast is not shown either
      stdin.setEncoding("utf8");
      stderr.write(question);
      const end = () => {
        stdin.off("data", onData);
        stdin.setRawMode(false);
        stdin.pause();
        stderr.write("\n");
      };
      const onData = (chunk: string) => {
        for (const key of chunk) {
          if (key === "\r" || key === "\n") return end(), done(typed);
          if (key === CTRL_C) return end(), failed(new CliError({ code: "interrupted", exit: "interrupted", detail: "Interrupted." }));
          typed = BACKSPACE.test(key) ? typed.slice(0, -1) : typed + key;
        }
      };
      stdin.on("data", onData);
      stdin.resume();
    });
}
