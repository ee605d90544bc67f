// Services for a task in words. Lexical by default, and called so; with an embeddings endpoint, by meaning: the candidates are still bounded, and
// come from the words and from the best of the rest.
import type { Deps } from "../../deps.ts";
import { EVENT } from "../../telemetry/log.ts";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { embeddedText } from "./document.ts";
import { embed, MOST_TEXTS, similarity } from "./embeddings.ts";
import { explain, searchText } from "./logic.ts";
import { filterOf, isPartial, searchServices, type Found, type Page, type Question } from "./search.ts";
import * as store from "./search-store.ts";
import type { FoundService } from "./types.ts";
import { findVectors, keepVectors } from "./vector-store.ts";

export type RecommendDeps = Pick<Deps, "config" | "db" | "outbound" | "log" | "now">;
export type Recommended = { found: Found; method: "lexical" | "semantic"; why: string };

/** Looked at by meaning, each from the words and from the best of all. */
const CANDIDATES = 250;

export async function recommend(deps: RecommendDeps, task: string, question: Question, page: Page): Promise<Recommended> {
  const text = searchText(task);
  const filter = filterOf(question);
  if (deps.config.discovery.embeddings !== undefined) {
    try {
      return { found: await byMeaning(deps, text, filter, page), method: "semantic", why: "nearness of meaning, by vectors" };
    } catch (error) {
      // Words always work.
      if (!(error instanceof TallystickError)) throw error;
      deps.log.warn({ event: EVENT.failure, code: error.code, err: error }, "recommended by words");
    }
  }
  return { found: await searchServices(deps, { ...filter, text, anyWord: true }, page), method: "lexical", why: "full-text rank of any of the words" };
}

async function byMeaning(deps: RecommendDeps, text: string, filter: store.Filter, { limit, offset }: Page): Promise<Found> {
  const most = { limit: CANDIDATES, offset: 0 };
  const [byWords, best, partial] = await Promise.all([store.search(deps.db, { ...filter, text, anyWord: true }, 1, most), store.search(deps.db, filter, 0, most), isPartial(deps)]);
  const candidates = [...new Map([...best, ...byWords].map((service) => [service.serviceId, service])).values()];
  const [asked] = await embed(deps, [text]);
  const vectors = await vectorsOf(deps, candidates);
  const ranked = candidates
    .map((service, at) => ({ ...service, textMatch: similarity(asked!, vectors[at]!) }))
    .map((service) => ({ service, score: explain(service, deps.config.token.address, service.textMatch).score }))
    .sort((a, b) => b.score - a.score || (a.service.serviceId < b.service.serviceId ? -1 : 1));
  const services = ranked.slice(offset, offset + limit).map(({ service }) => service);
  return { services, next: offset + limit < ranked.length ? offset + limit : undefined, partial };
}

/** In the order of the services; what no model saw yet is sent now. */
async function vectorsOf(deps: RecommendDeps, services: readonly FoundService[]): Promise<Float32Array[]> {
  const { model } = deps.config.discovery.embeddings!;
  const texts = services.map(embeddedText);
  const known = await findVectors(deps.db, model, texts.map(({ hash }) => hash));
  const missing = [...new Map(texts.filter(({ hash }) => !known.has(hash)).map((text) => [text.hash, text])).values()];
  for (let at = 0; at < missing.length; at += MOST_TEXTS) {
    const part = missing.slice(at, at + MOST_TEXTS);
    const vectors = await embed(deps, part.map(({ text }) => text));
    const made = part.map(({ hash }, index) => ({ hash, vector: vectors[index]! }));
    await keepVectors(deps.db, model, made);
    for (const { hash, vector } of made) known.set(hash, vector);
  }
  return texts.map(({ hash }) => known.get(hash)!);
}
