// What the example provider sells: keywords and a summary of an English text or Markdown document.
import model from "wink-eng-lite-web-model";
import winkNLP from "wink-nlp";

export type Analysis = {
  /** Nouns and proper nouns by how often they occur; score is the share of the most frequent one. */
  keywords: { word: string; score: number }[];
  /** The sentences that carry most of the text, in the order in which they occur. */
  summary: string[];
  words: number;
  sentences: number;
  /** True when the text was longer than what is analysed; the counts are then of the analysed part. */
  truncated: boolean;
  analysedCharacters: number;
};

/** Tagging costs about 1 ms a 1,000 characters; one long document must not hold up the others. */
export const ANALYSED_CHARACTERS = 10_000;
const KEYWORDS = 10;
const SUMMARY_SENTENCES = 3;
const SENTENCE_CHARACTERS = 300;
const TELLING_WORDS = 7;

// Only what is needed: sentence boundaries and parts of speech.
const nlp = winkNLP(model, ["sbd", "pos"]);
const { its, as } = nlp;

/** Analyses a document; its Markdown, HTML, code and addresses are not part of what it says. */
export function analyse(document: string): Analysis {
  // Cut before stripping, so that a hostile input cannot make the stripping itself slow.
  const cut = document.slice(0, ANALYSED_CHARACTERS);
  const text = proseOf(cut);
  const read = nlp.readDoc(text);
  const counted = read
    .tokens()
    .filter((token) => isKeyword(token.out(its.pos), token.out(its.normal), token.out(its.stopWordFlag) as boolean))
    .out(its.normal, as.freqTable) as [string, number][];
  const most = counted[0]?.[1] ?? 1;
  return {
    keywords: counted.slice(0, KEYWORDS).map(([word, count]) => ({ word, score: Math.round((count / most) * 1000) / 1000 })),
    summary: summarise(read),
    words: (read.tokens().out(its.type) as string[]).filter((type) => type === "word").length,
    sentences: text === "" ? 0 : read.sentences().length(),
    truncated: cut.length < document.length,
    analysedCharacters: cut.length,
  };
}

function isKeyword(partOfSpeech: string, word: string, stopWord: boolean): boolean {
  const noun = partOfSpeech === "NOUN" || partOfSpeech === "PROPN";
  return noun && !stopWord && word.length > 1 && /^[\p{L}\p{N}][\p{L}\p{N}'’@/-]*$/u.test(word) && /\p{L}/u.test(word);
}

function summarise(read: ReturnType<typeof nlp.readDoc>): string[] {
  const sentences = read.sentences();
  if (sentences.length() === 0) return [];
  const importance = read.out(its.sentenceWiseImportance) as unknown as { index: number; importance: number }[];
  const ranked = importance
    .map(({ index, importance }) => ({ index, importance, text: sentences.itemAt(index).out().replace(/\s+/g, " ").trim() }))
    .filter(({ text }) => text !== "")
    .sort((a, b) => b.importance - a.importance || a.index - b.index);
  // Headings and list items say little by themselves; a document that has nothing else is summarised by them.
  const telling = ranked.filter(({ text }) => text.split(" ").length >= TELLING_WORDS);
  return (telling.length > 0 ? telling : ranked)
    .slice(0, SUMMARY_SENTENCES)
    .sort((a, b) => a.index - b.index)
    .map(({ text }) => (text.length > SENTENCE_CHARACTERS ? `${text.slice(0, SENTENCE_CHARACTERS - 1)}…` : text));
}

/** The prose of a Markdown document. Every pattern is linear in a text of bounded length. */
function proseOf(markdown: string): string {
  const text = markdown
    .replace(/^(```|~~~).*\n(?:(?!\1).*\n?)*(?:\1.*)?/gm, "\n\n") // fenced code
    .replace(/<!--[\s\S]*?(?:-->|$)/g, " ")
    .replace(/<\/?[a-zA-Z][^<>]{0,1000}>/g, " ")
    .replace(/&#?\w{1,8};/g, " ")
    .replace(/!\[[^\][]*\](?:\([^()]*\)|\[[^\][]*\])/g, " ") // images and badges
    .replace(/\[([^\][]*)\](?:\([^()]*\)|\[[^\][]*\])/g, "$1") // links keep their words
    .replace(/^\s*\[[^\][]+\]:.*$/gm, " ") // link definitions
    .replace(/\bhttps?:\/\/\S+/g, " ")
    .replace(/^[ \t]*(?:[-*+]|\d+\.|#{1,6}|>|\|)[ \t]+/gm, "\n\n") // list, heading, quote and table marks
    .replace(/[-=_*~|`#]{2,}|[*`|]/g, " ");
  // A heading or a list item ends without a full stop; it is a sentence of its own all the same.
  return text
    .split(/\n[ \t]*\n/)
    .map((block) => block.replace(/\s+/g, " ").trim())
    .filter((block) => block !== "")
    .map((block) => (/[.!?:]$/.test(block) ? block : `${block}.`))
    .join("\n");
}
