// The part of cli-progress that is used here; the package brings no types.
declare module "cli-progress" {
  type Options = { format?: string; stream?: NodeJS.WritableStream; hideCursor?: boolean; clearOnComplete?: boolean; fps?: number };
  export class SingleBar {
    constructor(options: Options);
    start(total: number, startValue: number, payload?: Record<string, string>): void;
    update(value: number, payload?: Record<string, string>): void;
    stop(): void;
  }
  const cliProgress: { SingleBar: typeof SingleBar };
  export default cliProgress;
}
