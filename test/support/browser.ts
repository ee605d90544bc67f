// A page in a real Chromium, of an origin of its own, with code bundled for browsers.
import { build } from "esbuild";
import { createServer } from "node:http";
import { chromium, type Page } from "playwright-core";
import { CHROMIUM_ARGS, ensureChromium } from "../../scripts/testing/chromium.ts";
import { close, listen } from "./stock-facilitator.ts";

export type TestPage = {
  page: Page;
  /** Where the page is served from. */
  origin: string;
  /** What went wrong in the page: uncaught errors, failed requests, and console errors. */
  faults: string[];
  stop(): Promise<void>;
};

/** Serves `entry` (a TypeScript file) as the script of an empty page and opens that. */
export async function openPage(entry: string): Promise<TestPage> {
  const executablePath = await ensureChromium();
  // platform browser: a node: import fails here.
  const { outputFiles } = await build({ entryPoints: [entry], bundle: true, format: "iife", platform: "browser", target: "es2022", write: false, logLevel: "silent" });
  const script = outputFiles[0]!.text;
  const server = createServer((request, response) => {
    if (request.url === "/page.js") return response.writeHead(200, { "content-type": "text/javascript" }).end(script);
    if (request.url === "/") return response.writeHead(200, { "content-type": "text/html" }).end('<!doctype html><link rel="icon" href="data:,"><script src="/page.js"></script>');
    return response.writeHead(404).end();
  });
  const origin = await listen(server);
  const browser = await chromium.launch({ executablePath, args: CHROMIUM_ARGS });
  const page = await browser.newPage();
  const faults: string[] = [];
  page.on("pageerror", (error) => faults.push(error.message));
  page.on("console", (message) => void (message.type() === "error" && faults.push(`${message.text()} ${message.location().url}`)));
  await page.goto(origin);
  return {
    page,
    origin,
    faults,
    async stop() {
      await browser.close();
      await close(server);
    },
  };
}
