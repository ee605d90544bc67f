// SQL of the services that are listed through this relayer, as everybody may read them. What the chain says of them is a cache: before money
// depends on terms, the registry is asked (isCurrent), or the view that is kept fresh (view.ts).
import { namesOf, SERVICE_CATEGORIES, SERVICE_SCHEMES, type ServiceStatus, type ServiceVisibility } from "../../../../sdk/src/bazaar.ts";
import type { Address, Hex } from "viem";
import { toAddress, toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";

export const AVAILABILITIES = ["online", "offline", "busy"] as const;
export type Availability = (typeof AVAILABILITIES)[number];

/** Price in atomic units of `token`. */
export type Listing = {
  serviceId: Hex;
  /** The gateway's name of it; undefined where nobody sells it here. */
  service: string | undefined;
  owner: Address;
  agentKey: bigint;
  salt: Hex;
  payTo: Address;
  token: Address;
  price: bigint;
  /** Empty where the word on chain is no tag. */
  capability: string;
  categories: bigint;
  schemes: number;
  visibility: ServiceVisibility;
  contentHash: Hex;
  uri: string;
  termsHash: Hex;
  status: ServiceStatus;
  version: number;
  revision: number;
  /** Whether the terms above are those that the chain has. */
  isCurrent: boolean;
  chainBlock: bigint;
  availability: Availability;
  availableAt: Date | undefined;
  registeredAt: Date;
  updatedAt: Date;
  change: bigint;
};

export type ListingRow = {
  service_id: Buffer; service: string | null; owner: Buffer; agent_key: bigint; salt: Buffer; pay_to: Buffer; token: Buffer; price_atomic: bigint; capability: string; categories: bigint; schemes: number;
  visibility: ServiceVisibility; content_hash: Buffer; uri: string; terms_hash: Buffer; status: ServiceStatus; version: number; revision: number; chain_terms_tag: Buffer | null; chain_block: bigint;
  availability: Availability; available_at: Date | null; registered_at: Date; updated_at: Date; change: bigint;
};

export const LISTING_COLUMNS = `service_id, service, owner, agent_key, salt, pay_to, token, price_atomic, capability, categories, schemes, visibility, content_hash, uri, terms_hash, status, version, revision,
  chain_terms_tag, chain_block, availability, available_at, registered_at, updated_at, change`;

/** @param idOrName the registry's id of it, or the gateway's name. */
export async function findListing(db: Queryable, idOrName: string): Promise<Listing | undefined> {
  const isId = /^0x[0-9a-fA-F]{64}$/.test(idOrName);
  const { rows } = await db.query<ListingRow>(`SELECT ${LISTING_COLUMNS} FROM listing WHERE ${isId ? "service_id = $1::bytea" : "service = $1"}`, [isId ? toBytes(idOrName as Hex) : idOrName]);
  return rows[0] === undefined ? undefined : listingFromRow(rows[0]);
}

export type ListingFilter = {
  owner?: Address | undefined;
  /** Any, when left out. */
  statuses?: readonly ServiceStatus[] | undefined;
  capability?: string | undefined;
  visibility?: ServiceVisibility | undefined;
  /** Also what nobody sells here. */
  elsewhere: boolean;
  /** Page: those that come after this id. */
  after?: Hex | undefined;
  limit: number;
};

/** In the order of their ids. */
export async function listings(db: Queryable, { owner, statuses, capability, visibility, elsewhere, after, limit }: ListingFilter): Promise<Listing[]> {
  const { rows } = await db.query<ListingRow>(
    `SELECT ${LISTING_COLUMNS} FROM listing
     WHERE ($1::bytea IS NULL OR owner = $1::bytea) AND ($2::text[] IS NULL OR status = ANY($2)) AND ($3::text IS NULL OR capability = $3) AND ($4::text IS NULL OR visibility = $4)
       AND ($5::bytea IS NULL OR service_id > $5::bytea) AND ($7 OR service IS NOT NULL)
     ORDER BY service_id LIMIT $6`,
    [owner === undefined ? null : toBytes(owner), statuses ?? null, capability ?? null, visibility ?? null, after === undefined ? null : toBytes(after), limit, elsewhere],
  );
  return rows.map(listingFromRow);
}

/** The bytes of a metadata document. */
export async function findMetadata(db: Queryable, contentHash: Hex): Promise<Buffer | undefined> {
  const { rows } = await db.query<{ body: Buffer }>("SELECT body FROM metadata_document WHERE content_hash = $1::bytea", [toBytes(contentHash)]);
  return rows[0]?.body;
}

export const categoriesOf = ({ categories }: Pick<Listing, "categories">) => namesOf(SERVICE_CATEGORIES, categories);
export const schemesOf = ({ schemes }: Pick<Listing, "schemes">) => namesOf(SERVICE_SCHEMES, BigInt(schemes));

export function listingFromRow(row: ListingRow): Listing {
  const termsHash = toHex(row.terms_hash);
  return {
    serviceId: toHex(row.service_id), service: row.service ?? undefined, owner: toAddress(row.owner), agentKey: row.agent_key, salt: toHex(row.salt),
    payTo: toAddress(row.pay_to), token: toAddress(row.token), price: row.price_atomic, capability: row.capability, categories: row.categories, schemes: row.schemes, visibility: row.visibility,
    contentHash: toHex(row.content_hash), uri: row.uri, termsHash, status: row.status, version: row.version, revision: row.revision,
    isCurrent: row.chain_terms_tag !== null && termsHash.startsWith(toHex(row.chain_terms_tag)), chainBlock: row.chain_block,
    availability: row.availability, availableAt: row.available_at ?? undefined, registeredAt: row.registered_at, updatedAt: row.updated_at, change: row.change,
  };
}

/** What changed after a number, in order. */
export async function listingsAfter(db: Queryable, change: bigint, limit: number): Promise<Listing[]> {
  const { rows } = await db.query<ListingRow>({ name: "listing_after", text: `SELECT ${LISTING_COLUMNS} FROM listing WHERE change > $1 ORDER BY change LIMIT $2`, values: [change, limit] });
  return rows.map(listingFromRow);
}
