// A provider that answers word by word: POST a text, get its most telling sentences as server-sent events, one word each. It knows nothing
// of payments; the relayer in front of it sells every event (RELAYER_SERVICES: "streamUnit": "token", "streamPriceAtomic": "10").
//   node docs/examples/stream-provider.ts [port]
import { createServer, type ServerResponse } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";

const MAX_CHARACTERS = 200_000;

/** The sentences whose words the text uses most, in the order of the text. */
function summary(text: string, sentences = 5): string[] {
  const wordsOf = (part: string) => part.toLowerCase().match(/\p{L}{4,}/gu) ?? [];
  const counts = new Map<string, number>();
  for (const word of wordsOf(text)) counts.set(word, (counts.get(word) ?? 0) + 1);
  const weigh = (sentence: string) => {
    const words = wordsOf(sentence);
    return words.reduce((sum, word) => sum + counts.get(word)!, 0) / Math.max(8, words.length);
  };
  const all = (text.match(/[^.!?]+[.!?]+/g) ?? [text]).map((sentence, at) => ({ at, sentence: sentence.trim(), weight: weigh(sentence) }));
  return all.sort((a, b) => b.weight - a.weight).slice(0, sentences).sort((a, b) => a.at - b.at).map(({ sentence }) => sentence);
}

async function stream(text: string, response: ServerResponse): Promise<void> {
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
  for (const word of summary(text).join(" ").split(/\s+/)) {
    if (response.destroyed) return; // nobody pays for what comes now
    if (!response.write(`data: ${word}\n\n`)) await Promise.race([once(response, "drain"), once(response, "close")]);
  }
  // The last word is not sold.
  response.end("tallystick-units: 0\ndata: [DONE]\n\n");
}

const server = createServer(async (request, response) => {
  let text = "";
  for await (const chunk of request.setEncoding("utf8")) if ((text += chunk).length > MAX_CHARACTERS) return response.writeHead(413).end();
  if (request.method !== "POST" || text.trim() === "") return response.writeHead(400, { "content-type": "text/plain" }).end("POST a text");
  await stream(text, response);
});
server.listen(Number(process.argv[2] ?? 0), "127.0.0.1", () => process.stdout.write(`http://127.0.0.1:${(server.address() as AddressInfo).port}\n`));
