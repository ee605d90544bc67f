// An OpenAI-compatible embeddings endpoint, configured by the operator. It is asked through `outbound` unless it is on this machine, where
// operators run their own models.
import { TallystickError } from "../../../../sdk/src/errors.ts";
import type { Deps } from "../../deps.ts";

type EmbeddingDeps = Pick<Deps, "config" | "outbound">;

export const MOST_TEXTS = 64;
const TIMEOUT_MS = 10_000;
const MOST_BYTES = 32 << 20;
const MOST_DIMENSIONS = 8_192;

/** A vector a text, of length 1, in their order. @throws TallystickError 502 `embeddings_unavailable`. */
export async function embed(deps: EmbeddingDeps, texts: readonly string[]): Promise<Float32Array[]> {
  const { embeddings } = deps.config.discovery;
  if (embeddings === undefined) throw unavailable("No embeddings endpoint is configured.");
  const body = Buffer.from(JSON.stringify({ model: embeddings.model, input: texts, encoding_format: "float" }));
  const headers = { "content-type": "application/json", ...(embeddings.key === undefined ? {} : { authorization: `Bearer ${embeddings.key}` }) };
  const answer = await ask(deps, `${embeddings.url}/embeddings`, headers, body).catch((cause: unknown) => {
    throw unavailable("The embeddings endpoint cannot be reached.", cause);
  });
  if (answer.status !== 200) throw unavailable(`The embeddings endpoint answers ${answer.status}.`);
  return vectorsIn(answer.text, texts.length);
}

async function ask({ outbound }: EmbeddingDeps, url: string, headers: Record<string, string>, body: Buffer): Promise<{ status: number; text: string }> {
  if (isLoopback(new URL(url).hostname)) {
    const response = await fetch(url, { method: "POST", headers, body: new Uint8Array(body), redirect: "error", signal: AbortSignal.timeout(TIMEOUT_MS) });
    return { status: response.status, text: await response.text() };
  }
  const response = await outbound.fetch({ method: "POST", url, headers, body, timeoutMs: TIMEOUT_MS, maxBytes: MOST_BYTES });
  return { status: response.status, text: response.body.toString() };
}

function vectorsIn(json: string, count: number): Float32Array[] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(json);
  } catch (cause) {
    throw unavailable("The embeddings endpoint answers no JSON.", cause);
  }
  const data = (parsed as { data?: unknown } | null)?.data;
  const vectors: Float32Array[] = [];
  for (const entry of Array.isArray(data) ? data : []) {
    const { index, embedding } = (entry ?? {}) as { index?: unknown; embedding?: unknown };
    const plain = Array.isArray(embedding) && embedding.length > 0 && embedding.length <= MOST_DIMENSIONS && embedding.every((number) => typeof number === "number" && Number.isFinite(number));
    if (plain && typeof index === "number" && Number.isInteger(index) && index >= 0 && index < count) vectors[index] = normalised(embedding as number[]);
  }
  const [first] = vectors;
  if (vectors.length !== count || Array.from(vectors).some((vector) => vector === undefined || vector.length !== first?.length)) throw unavailable("The embeddings endpoint answers something else than a vector for each text.");
  return vectors;
}

function normalised(vector: readonly number[]): Float32Array {
  const length = Math.hypot(...vector) || 1;
  return Float32Array.from(vector, (number) => number / length);
}

/** Of vectors of length 1, from 0 (unrelated or opposite) to 1. Vectors of different models are not compared. */
export function similarity(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length) return 0;
  let sum = 0;
  for (let at = 0; at < a.length; at++) sum += a[at]! * b[at]!;
  return Math.min(1, Math.max(0, sum));
}

export const isLoopback = (hostname: string): boolean => /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/.test(hostname);

function unavailable(detail: string, cause?: unknown): TallystickError {
  return new TallystickError({ code: "embeddings_unavailable", status: 502, retry: "safe", detail, cause });
}
