// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ISessionChannels} from "./ISessionChannels.sol";

/// @title IBazaarRegistry
/// @notice The bazaar's register: who sells what for how much and is paid where; which relayers stand behind it with a bond;
/// and what those who paid say of it.
/// @dev A service's terms are never stored: one slot keeps 200 bits of their hash beside the status, and events carry them in
/// full. Whoever relies on terms passes them to `isCurrent`; callers that change a service pass what they change from.
///
/// Prices and amounts are atomic token units, times Unix seconds.
interface IBazaarRegistry {
    // ------------------------------------------------------------------ types

    /// @notice Whose service it is. Its EIP-712 typed-data hash is the service's id, so a service cannot be given to somebody
    /// else except with the identity that owns it.
    struct ServiceKey {
        /// agentId + 1 of the owning ERC-8004 identity (agentId 0 is a valid one), or 0: owned by `owner`.
        uint256 agent;
        /// The owner of a service without identity; zero exactly when `agent` is not.
        address owner;
        /// Tells the services of one owner apart.
        bytes32 salt;
    }

    enum Status {
        /// No such service.
        None,
        Draft,
        PendingReview,
        Listed,
        /// Paused by its owner, or suspended by the curator.
        Suspended,
        Delisted
    }

    enum Visibility {
        Public,
        /// Sold to who knows of it; not shown by search.
        Unlisted
    }

    /// @notice What is offered, without where the money goes.
    struct Offer {
        /// Capability tag in ASCII, at most 32 bytes, left-aligned; a mandate names keccak256 of the tag.
        bytes32 capability;
        /// Bitmap of categories; names in sdk/src/bazaar.ts.
        uint64 categories;
        /// Price of one call (or of what the metadata says is sold), atomic units.
        uint128 price;
        /// Bitmap of the payment schemes it takes; names in sdk/src/bazaar.ts.
        uint16 schemes;
        Visibility visibility;
        /// Hash of the metadata document.
        bytes32 contentHash;
        /// Where the metadata is.
        string uri;
    }

    /// @notice What a service's owner signs.
    struct Terms {
        /// Who is paid: the receiver of channels, the provider of jobs.
        address payTo;
        address token;
        Offer offer;
    }

    /// @notice Terms with the offer by its EIP-712 struct hash.
    struct TermsRef {
        address payTo;
        address token;
        bytes32 offerHash;
    }

    /// @notice The owner's signature (ECDSA, or ERC-1271 by code), so that anyone may send the call.
    struct Consent {
        /// Last second in which the signature counts.
        uint256 deadline;
        /// Empty: the sender is the owner.
        bytes signature;
    }

    /// @notice What the registry keeps of a service; one slot.
    struct ServiceState {
        Status status;
        Visibility visibility;
        /// Whether the curator approved the current terms; always false where there is no curator.
        bool approved;
        /// Counts the terms; 1 at first.
        uint24 version;
        /// Counts every change by the owner; the next signature must name it. 1 at first.
        uint24 revision;
        /// The first 200 bits of the EIP-712 struct hash of the terms.
        bytes25 termsTag;
    }

    /// @notice A payment by channel: claims of it up to a cumulative amount.
    struct ChannelPayment {
        /// The contract in which the channel is: sessionChannels or publishedChannels.
        address channels;
        ISessionChannels.ChannelConfig config;
        /// Cumulative amount that was claimed of the channel and that the rating speaks of, from the last rating on.
        uint128 claimed;
    }

    /// @notice What a rater says, and its consent as that of an owner.
    struct Opinion {
        /// 0 to 100.
        uint8 score;
        /// Hash of whatever explains it, or zero.
        bytes32 details;
        /// Whether it is passed on to the ERC-8004 reputation registry; only services of an identity have an entry there.
        bool forward;
        uint256 deadline;
        bytes signature;
    }

    /// @notice Sums over a service's ratings by payments in one token.
    struct RatingTotals {
        uint256 count;
        /// Of scores.
        uint256 sum;
        /// Of amounts paid, atomic units.
        uint256 weight;
        /// Of score times amount.
        uint256 weightedSum;
        /// Number of scores 0-19, 20-39, 40-59, 60-79, 80-100.
        uint32[5] buckets;
        /// When the last one came.
        uint40 lastRatedAt;
    }

    /// @notice A bond; one slot. Atomic units of the bond token.
    struct Bond {
        uint104 amount;
        /// Part of `amount` that is on its way out and stands for nothing any more.
        uint104 unbonding;
        /// From when on that part can be withdrawn.
        uint40 withdrawableAt;
        /// Of a facilitator: whether it is registered.
        bool active;
    }

    /// @notice A member of Terms.
    enum Term {
        PayTo,
        Token,
        Capability,
        Schemes,
        ContentHash,
        Uri
    }

    // ------------------------------------------------------------------ events

    /// @param key Of the service: identity or owner, and salt.
    /// @param status What it starts as; its version and revision are 1.
    event ServiceListed(
        bytes32 indexed serviceId,
        address indexed owner,
        bytes32 indexed capability,
        ServiceKey key,
        Terms terms,
        Status status
    );
    /// @notice The terms were replaced.
    event ServiceUpdated(
        bytes32 indexed serviceId,
        address indexed owner,
        bytes32 indexed capability,
        Terms terms,
        Status status,
        uint24 version,
        uint24 revision
    );
    /// @param by Owner or curator.
    /// @param reason Hash of the curator's reason, or zero.
    event ServiceStatusChanged(
        bytes32 indexed serviceId,
        address indexed by,
        Status indexed status,
        uint24 version,
        uint24 revision,
        bytes32 reason
    );
    /// @param source Id of the channel, or jobSource(jobId).
    /// @param amount What was paid since the last rating of the channel, or for the job.
    event ServiceRated(
        bytes32 indexed serviceId,
        address indexed rater,
        bytes32 indexed source,
        address payTo,
        address token,
        uint128 amount,
        uint8 score,
        bytes32 details
    );
    /// @notice The rating was offered to the ERC-8004 reputation registry.
    /// @param accepted Whether that registry took it.
    event RatingForwarded(bytes32 indexed serviceId, uint256 indexed agentId, bytes32 indexed source, bool accepted);

    /// @param amount What was added; `total` what stands now.
    event ServiceBonded(bytes32 indexed serviceId, address indexed from, uint128 amount, uint128 total);
    /// @param amount What is on its way out now, in all; 0: nothing any more.
    event ServiceUnbonding(
        bytes32 indexed serviceId, address indexed owner, uint128 amount, uint40 withdrawableAt, uint24 revision
    );
    event ServiceBondWithdrawn(bytes32 indexed serviceId, address indexed owner, uint128 amount, uint128 total);

    /// @notice A facilitator registered or changed its endpoint or bond.
    /// @param bond What stands now.
    event FacilitatorRegistered(address indexed facilitator, string endpoint, bytes32 contentHash, uint128 bond);
    /// @param amount What is on its way out now, in all.
    /// @param active False: it is no longer registered.
    event FacilitatorUnbonding(address indexed facilitator, uint128 amount, uint40 withdrawableAt, bool active);
    event FacilitatorBondWithdrawn(address indexed facilitator, uint128 amount, uint128 total);

    // ------------------------------------------------------------------ errors

    /// @notice Both or neither of `agent` and `owner` are given.
    error InvalidKey(uint256 agent, address owner);
    /// @notice The identity registry knows no such agent, or there is no identity registry.
    error UnknownIdentity(uint256 agentId);
    error InvalidSetup(address account);
    error InvalidTerms(Term term);
    error ServiceExists(bytes32 serviceId);
    error UnknownService(bytes32 serviceId);
    error NotOwner(address caller, address owner);
    error NotCurator(address caller);
    error InvalidSignature(address signer);
    error SignatureExpired(uint256 deadline, uint256 timestamp);
    /// @notice What the caller takes for the current terms is not.
    error StaleTerms(bytes32 serviceId);
    /// @notice The curator meant other terms.
    error WrongVersion(bytes32 serviceId, uint24 given, uint24 current);
    error InvalidTransition(bytes32 serviceId, Status from, Status to);
    /// @notice The curator has not approved the current terms.
    error ReviewRequired(bytes32 serviceId);

    error InvalidChannelContract(address account);
    error InvalidScore(uint8 score);
    /// @notice The channel's claims do not reach that far.
    error NotClaimed(bytes32 channelId, uint128 claimed, uint128 totalClaimed);
    /// @notice The payment was rated already, up to `rated`.
    error AlreadyRated(bytes32 source, uint256 claimed, uint256 rated);
    error JobNotPaid(uint256 jobId);
    /// @notice The payment did not go to the service: neither its payTo and token nor any it had before.
    error NotPaidTo(bytes32 serviceId, address payTo, address token);
    error NotRater(address caller, address rater);
    /// @notice The payer or its voucher key is the service's owner, payTo or agent wallet.
    error SelfRating(bytes32 serviceId, address account);
    /// @notice Sums of this service in this token would no longer fit; only a hostile token gets there.
    error RatingOverflow(bytes32 serviceId, address token);

    error ZeroAmount();
    error BondTooLarge(uint256 amount);
    error BondTooSmall(uint256 bond, uint256 minimum);
    error NotEnoughBond(uint256 asked, uint256 bond);
    error NothingUnbonding();
    error StillBonded(uint256 withdrawableAt, uint256 timestamp);
    error NotFacilitator(address account);
    /// @notice The token moved something else than the amount.
    error WrongTokenBalance(uint256 balance, uint256 expected);

    // ------------------------------------------------------------------ services

    /// @notice Registers a service, live at once where `publish` is set: Listed, or PendingReview where there is a curator.
    /// @dev Refuses with InvalidKey, UnknownIdentity, ServiceExists, InvalidTerms, NotOwner, SignatureExpired, InvalidSignature.
    /// @param consent Of ListService.
    function list(ServiceKey calldata key, Terms calldata terms, bool publish, Consent calldata consent)
        external
        returns (bytes32 serviceId);

    /// @notice Replaces the terms. Where there is a curator, what was listed goes back to review.
    /// @dev Refuses as `list`, with UnknownService, and with StaleTerms. Where payTo or token change, those who paid to the
    /// old ones can still rate.
    /// @param previous The terms that are replaced.
    /// @param consent Of UpdateService.
    function update(
        ServiceKey calldata key,
        TermsRef calldata previous,
        Terms calldata terms,
        Consent calldata consent
    ) external;

    /// @notice Submits (PendingReview), publishes (Listed), pauses (Suspended) or ends (Delisted) a service.
    /// @dev
    ///     to PendingReview   from Draft, Suspended, Delisted; only where there is a curator
    ///     to Listed          from the same; where there is a curator, only with terms it approved (else ReviewRequired)
    ///     to Suspended       from Listed
    ///     to Delisted        from any other
    ///
    /// Refuses with InvalidTransition, UnknownService, NotOwner, SignatureExpired, InvalidSignature.
    /// @param consent Of SetServiceStatus.
    function setStatus(ServiceKey calldata key, Status status, Consent calldata consent) external;

    /// @notice The curator lists what is pending review, or sends it back to Draft.
    /// @dev Refuses with NotCurator, UnknownService, InvalidTransition, and WrongVersion unless `version` is current: an owner
    /// cannot slip other terms under an approval.
    function review(bytes32 serviceId, uint24 version, bool approved, bytes32 reason) external;

    /// @notice The curator takes back its approval; the service is Suspended until it is submitted and approved anew.
    /// @dev Refuses with NotCurator, UnknownService, and InvalidTransition when there is no approval to take back.
    function suspend(bytes32 serviceId, bytes32 reason) external;

    // ------------------------------------------------------------------ ratings

    /// @notice Rates a service by what was newly claimed of a channel to it; by the channel's payer.
    /// @dev Refuses with InvalidChannelContract, InvalidScore, NotClaimed, AlreadyRated, UnknownService, NotPaidTo, SelfRating,
    /// NotRater, SignatureExpired, InvalidSignature, RatingOverflow. In any status: what was paid can be rated.
    /// @param offerHash Struct hash of the current offer; any value when payTo or token were the service's before.
    function rateChannel(
        ServiceKey calldata key,
        bytes32 offerHash,
        ChannelPayment calldata payment,
        Opinion calldata opinion
    ) external;

    /// @notice Rates a service by a job that ended with a payment to it; by the client, once.
    /// @dev Refuses as `rateChannel`, and with JobNotPaid.
    function rateJob(ServiceKey calldata key, bytes32 offerHash, uint256 jobId, Opinion calldata opinion) external;

    // ------------------------------------------------------------------ bonds

    /// @notice Adds to a service's bond from the sender's tokens (by allowance). Anyone may.
    /// @dev Refuses with UnknownService, ZeroAmount, BondTooLarge, WrongTokenBalance.
    function bondService(bytes32 serviceId, uint128 amount) external;

    /// @notice The owner asks for `amount` of the bond back; replaces what it asked for before. 0: nothing any more.
    /// @dev Refuses with NotEnoughBond, UnknownService, NotOwner, SignatureExpired, InvalidSignature.
    /// @param consent Of UnbondService.
    function unbondService(ServiceKey calldata key, uint128 amount, Consent calldata consent) external;

    /// @notice Pays what was asked for to the service's current owner. Anyone may send it.
    /// @dev Refuses with NothingUnbonding, StillBonded, UnknownIdentity.
    function withdrawServiceBond(ServiceKey calldata key) external;

    /// @notice Registers the sender as a facilitator, or changes its endpoint; adds `bond` from its tokens.
    /// @dev Refuses with BondTooSmall unless what stands afterwards reaches facilitatorBond, InvalidTerms(Uri), BondTooLarge.
    function registerFacilitator(string calldata endpoint, bytes32 contentHash, uint128 bond) external;

    /// @notice The facilitator asks for `amount` back; replaces what it asked for before. All of it: it is registered no more.
    /// @dev Refuses with NotFacilitator, NotEnoughBond, and BondTooSmall when something but less than facilitatorBond is left.
    function unbondFacilitator(uint128 amount) external;

    /// @notice Pays the sender what it asked for.
    /// @dev Refuses with NothingUnbonding, StillBonded.
    function withdrawFacilitatorBond() external;

    // ------------------------------------------------------------------ views

    /// @notice State of a service; all zero when there is none.
    function services(bytes32 serviceId) external view returns (ServiceState memory);

    /// @notice Whether those are the service's current terms; says nothing of its status.
    function isCurrent(bytes32 serviceId, Terms calldata terms) external view returns (bool);

    /// @notice As `isCurrent`, by the offer's hash.
    function isCurrentRef(bytes32 serviceId, TermsRef calldata terms) external view returns (bool);

    /// @notice Whether the service was paid there before it moved elsewhere.
    function wasPaidAt(bytes32 serviceId, address payTo, address token) external view returns (bool);

    /// @notice The owner now: read from the identity registry, or `key.owner`.
    function serviceOwner(ServiceKey calldata key) external view returns (address);

    /// @notice Sums of a service's ratings by payments in `token`.
    function ratings(bytes32 serviceId, address token) external view returns (RatingTotals memory);

    /// @notice Up to what cumulative amount a channel's claims were rated; for a job what it paid, or 0.
    function ratedUpTo(bytes32 source) external view returns (uint256);

    function serviceBonds(bytes32 serviceId) external view returns (Bond memory);
    function facilitators(address facilitator) external view returns (Bond memory);

    /// @notice Whether a receipt is among those whose root rode in a PackedClaimed event.
    /// @param receiptHash EIP-712 digest of the receipt.
    /// @param receiptsRoot Root of OpenZeppelin's standard Merkle tree over ["bytes32"] of receipt digests.
    function isReceiptProven(bytes32 receiptHash, bytes32 receiptsRoot, bytes32[] calldata proof)
        external
        pure
        returns (bool);

    function isChannelContract(address account) external view returns (bool);

    /// @notice Id of the service: the typed-data hash of its key, which binds chain and contract.
    function getServiceId(ServiceKey calldata key) external view returns (bytes32);

    /// @notice EIP-712 struct hash of an offer.
    function getOfferHash(Offer calldata offer) external pure returns (bytes32);

    /// @notice What names a job as a rating's source.
    function jobSource(uint256 jobId) external view returns (bytes32);

    function getListDigest(bytes32 serviceId, Terms calldata terms, bool publish, uint256 deadline)
        external
        view
        returns (bytes32);
    function getUpdateDigest(bytes32 serviceId, uint24 revision, Terms calldata terms, uint256 deadline)
        external
        view
        returns (bytes32);
    function getStatusDigest(bytes32 serviceId, uint24 revision, Status status, uint256 deadline)
        external
        view
        returns (bytes32);
    function getUnbondDigest(bytes32 serviceId, uint24 revision, uint128 amount, uint256 deadline)
        external
        view
        returns (bytes32);
    /// @param claimed Of the channel, cumulative; of a job what it paid.
    function getRatingDigest(bytes32 serviceId, bytes32 source, uint128 claimed, Opinion calldata opinion)
        external
        view
        returns (bytes32);

    /// @notice Seconds between asking for a bond and getting it.
    function BOND_DELAY() external view returns (uint40);
    /// @notice Longest uri or endpoint, bytes.
    function MAX_URI_BYTES() external view returns (uint256);
    /// @notice Gas that the ERC-8004 reputation registry gets.
    function FORWARD_GAS() external view returns (uint256);

    function identityRegistry() external view returns (address);
    /// @notice Zero: ratings are not forwarded.
    function reputationRegistry() external view returns (address);
    function sessionChannels() external view returns (address);
    function publishedChannels() external view returns (address);
    /// @notice The IJobOutcomes whose jobs can be rated; zero: none.
    function jobs() external view returns (address);
    /// @notice Reviews services; zero: nobody, and publishing needs no review.
    function curator() external view returns (address);
    function bondToken() external view returns (address);
    /// @notice Least bond of a facilitator, atomic units.
    function facilitatorBond() external view returns (uint128);
}
