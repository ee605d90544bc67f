// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Multicall} from "@openzeppelin/contracts/utils/Multicall.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

import {IBazaarRegistry} from "./interfaces/IBazaarRegistry.sol";
import {IAgentIdentity, IAgentReputation} from "./interfaces/IERC8004.sol";
import {IJobOutcomes} from "./interfaces/IJobOutcomes.sol";
import {ISessionChannels} from "./interfaces/ISessionChannels.sol";
import {BazaarTypes} from "./libraries/BazaarTypes.sol";
import {BondLib} from "./libraries/BondLib.sol";
import {BoundedCall} from "./libraries/BoundedCall.sol";
import {MandateTypes} from "./libraries/MandateTypes.sol";
import {RatingLib, RatingWords} from "./libraries/RatingLib.sol";
import {ServiceWord, ServiceWordLib} from "./libraries/ServiceWord.sol";

/// @title BazaarRegistry
/// @notice Who sells what and where they are paid; the bonds behind it; ratings by those who paid. Ownerless, without proxy or
/// pause; a curator, if a deployment has one, can hide services and do nothing else.
/// @dev What holds after every call:
///
///     every rating counts an amount that was paid to its service, and no amount counts twice
///     the sums of a service's ratings are those of its ServiceRated events
///     a service changes by the word of who owns it at that moment, or is hidden by the curator
///     bondToken.balanceOf(this) >= sum of bonds, equal but for tokens sent here by mistake
///
/// State is written before any other contract is called that could call back: identities, channels and jobs are read by static
/// calls. A signature of an owner names the service's revision, which every change moves on, so it works once.
contract BazaarRegistry is IBazaarRegistry, EIP712, Multicall {
    using BondLib for Bond;
    using RatingLib for RatingWords;
    using SafeERC20 for IERC20;

    // ------------------------------------------------------------------ constants

    /// @inheritdoc IBazaarRegistry
    uint40 public constant BOND_DELAY = 7 days;
    /// @inheritdoc IBazaarRegistry
    uint256 public constant MAX_URI_BYTES = 512;
    /// @inheritdoc IBazaarRegistry
    /// @dev Twice what a registry uses that stores two tags and a first client.
    uint256 public constant FORWARD_GAS = 400_000;

    bytes32 public constant SERVICE_TYPEHASH = BazaarTypes.SERVICE;
    bytes32 public constant OFFER_TYPEHASH = BazaarTypes.OFFER;
    bytes32 public constant TERMS_TYPEHASH = BazaarTypes.TERMS;
    bytes32 public constant LIST_TYPEHASH = BazaarTypes.LIST;
    bytes32 public constant UPDATE_TYPEHASH = BazaarTypes.UPDATE;
    bytes32 public constant STATUS_TYPEHASH = BazaarTypes.STATUS;
    bytes32 public constant UNBOND_TYPEHASH = BazaarTypes.UNBOND;
    bytes32 public constant RATING_TYPEHASH = BazaarTypes.RATING;

    /// @inheritdoc IBazaarRegistry
    address public immutable identityRegistry;
    /// @inheritdoc IBazaarRegistry
    address public immutable reputationRegistry;
    /// @inheritdoc IBazaarRegistry
    address public immutable sessionChannels;
    /// @inheritdoc IBazaarRegistry
    address public immutable publishedChannels;
    /// @inheritdoc IBazaarRegistry
    address public immutable jobs;
    /// @inheritdoc IBazaarRegistry
    address public immutable curator;
    /// @inheritdoc IBazaarRegistry
    address public immutable bondToken;
    /// @inheritdoc IBazaarRegistry
    uint128 public immutable facilitatorBond;

    // ------------------------------------------------------------------ storage

    /// @dev A struct, so that its slot is found once for reading and writing.
    struct Stored {
        ServiceWord word;
    }

    /// @dev A payment that is being rated.
    struct Payment {
        bytes32 source;
        address rater;
        /// Who else speaks for the rater: the channel's voucher key.
        address voucherKey;
        address payTo;
        address token;
        uint128 amount;
        /// What the rater signs as `claimed`.
        uint128 claimed;
    }

    mapping(bytes32 serviceId => Stored) private _services;
    mapping(bytes32 serviceId => mapping(address token => RatingWords)) private _ratings;
    /// @inheritdoc IBazaarRegistry
    mapping(bytes32 source => uint256) public ratedUpTo;
    /// @inheritdoc IBazaarRegistry
    mapping(bytes32 serviceId => mapping(address payTo => mapping(address token => bool))) public wasPaidAt;
    mapping(bytes32 serviceId => Bond) private _serviceBonds;
    mapping(address facilitator => Bond) private _facilitators;

    constructor(
        address identityRegistry_,
        address reputationRegistry_,
        address sessionChannels_,
        address publishedChannels_,
        address jobs_,
        address curator_,
        address bondToken_,
        uint128 facilitatorBond_
    ) EIP712("Tallystick Bazaar Registry", "1") {
        require(sessionChannels_ != address(0), InvalidSetup(sessionChannels_));
        require(publishedChannels_ != address(0), InvalidSetup(publishedChannels_));
        require(bondToken_ != address(0), InvalidSetup(bondToken_));
        identityRegistry = identityRegistry_;
        reputationRegistry = reputationRegistry_;
        sessionChannels = sessionChannels_;
        publishedChannels = publishedChannels_;
        jobs = jobs_;
        curator = curator_;
        bondToken = bondToken_;
        facilitatorBond = facilitatorBond_;
    }

    // ------------------------------------------------------------------ services: the owner

    /// @inheritdoc IBazaarRegistry
    function list(ServiceKey calldata key, Terms calldata terms, bool publish, Consent calldata consent)
        external
        returns (bytes32 serviceId)
    {
        serviceId = getServiceId(key);
        Stored storage stored = _services[serviceId];
        require(!stored.word.exists(), ServiceExists(serviceId));
        bytes32 termsHash = _checkedHash(terms);
        address owner = serviceOwner(key);
        if (_isSigned(owner, consent)) {
            bytes32 digest = _listDigest(serviceId, termsHash, publish, consent.deadline);
            _requireSignature(owner, digest, consent.deadline, consent.signature);
        }
        Status status = !publish ? Status.Draft : _isCurated() ? Status.PendingReview : Status.Listed;
        stored.word = ServiceWordLib.listed(termsHash, terms.offer.visibility, status);
        emit ServiceListed(serviceId, owner, terms.offer.capability, key, terms, status);
    }

    /// @inheritdoc IBazaarRegistry
    function update(
        ServiceKey calldata key,
        TermsRef calldata previous,
        Terms calldata terms,
        Consent calldata consent
    ) external {
        (bytes32 serviceId, Stored storage stored, ServiceWord word) = _find(key);
        require(word.hasTerms(BazaarTypes.hashRef(previous)), StaleTerms(serviceId));
        bytes32 termsHash = _checkedHash(terms);
        address owner = serviceOwner(key);
        if (_isSigned(owner, consent)) {
            bytes32 digest = _updateDigest(serviceId, word.revision(), termsHash, consent.deadline);
            _requireSignature(owner, digest, consent.deadline, consent.signature);
        }
        if (previous.payTo != terms.payTo || previous.token != terms.token) {
            wasPaidAt[serviceId][previous.payTo][previous.token] = true;
        }
        Status status = word.status();
        if (status == Status.Listed && _isCurated()) status = Status.PendingReview;
        word = word.updated(termsHash, terms.offer.visibility, status);
        stored.word = word;
        emit ServiceUpdated(
            serviceId, owner, terms.offer.capability, terms, status, word.version(), word.revision()
        );
    }

    /// @inheritdoc IBazaarRegistry
    function setStatus(ServiceKey calldata key, Status status, Consent calldata consent) external {
        (bytes32 serviceId, Stored storage stored, ServiceWord word) = _find(key);
        address owner = serviceOwner(key);
        if (_isSigned(owner, consent)) {
            bytes32 digest = getStatusDigest(serviceId, word.revision(), status, consent.deadline);
            _requireSignature(owner, digest, consent.deadline, consent.signature);
        }
        require(word.mayMoveTo(status, _isCurated()), InvalidTransition(serviceId, word.status(), status));
        if (status == Status.Listed && _isCurated()) require(word.isApproved(), ReviewRequired(serviceId));
        _storeStatus(stored, serviceId, word.revised(), status, 0);
    }

    function _storeStatus(
        Stored storage stored,
        bytes32 serviceId,
        ServiceWord word,
        Status status,
        bytes32 reason
    ) private {
        stored.word = word.withStatus(status);
        emit ServiceStatusChanged(serviceId, msg.sender, status, word.version(), word.revision(), reason);
    }

    function _checkedHash(Terms calldata terms) private view returns (bytes32) {
        address payTo = terms.payTo;
        require(
            payTo != address(0) && payTo != address(this) && !isChannelContract(payTo), InvalidTerms(Term.PayTo)
        );
        require(terms.token != address(0), InvalidTerms(Term.Token));
        Offer calldata offer = terms.offer;
        require(offer.capability != 0, InvalidTerms(Term.Capability));
        require(offer.schemes != 0, InvalidTerms(Term.Schemes));
        require(offer.contentHash != 0, InvalidTerms(Term.ContentHash));
        _requireUri(offer.uri);
        return BazaarTypes.hashTerms(terms);
    }

    function _requireUri(string calldata uri) private pure {
        uint256 length = bytes(uri).length;
        require(length != 0 && length <= MAX_URI_BYTES, InvalidTerms(Term.Uri));
    }

    function _find(ServiceKey calldata key)
        private
        view
        returns (bytes32 serviceId, Stored storage stored, ServiceWord word)
    {
        serviceId = getServiceId(key);
        (stored, word) = _find(serviceId);
    }

    function _find(bytes32 serviceId) private view returns (Stored storage stored, ServiceWord word) {
        stored = _services[serviceId];
        word = stored.word;
        require(word.exists(), UnknownService(serviceId));
    }

    // ------------------------------------------------------------------ services: the curator

    /// @inheritdoc IBazaarRegistry
    function review(bytes32 serviceId, uint24 version, bool approved, bytes32 reason) external {
        (Stored storage stored, ServiceWord word) = _findAsCurator(serviceId);
        require(version == word.version(), WrongVersion(serviceId, version, word.version()));
        Status status = approved ? Status.Listed : Status.Draft;
        require(word.status() == Status.PendingReview, InvalidTransition(serviceId, word.status(), status));
        _storeStatus(stored, serviceId, word.withApproval(approved), status, reason);
    }

    /// @inheritdoc IBazaarRegistry
    function suspend(bytes32 serviceId, bytes32 reason) external {
        (Stored storage stored, ServiceWord word) = _findAsCurator(serviceId);
        require(word.isApproved(), InvalidTransition(serviceId, word.status(), Status.Suspended));
        _storeStatus(stored, serviceId, word.withApproval(false), Status.Suspended, reason);
    }

    function _findAsCurator(bytes32 serviceId) private view returns (Stored storage, ServiceWord) {
        require(msg.sender == curator, NotCurator(msg.sender));
        return _find(serviceId);
    }

    function _isCurated() private view returns (bool) {
        return curator != address(0);
    }

    // ------------------------------------------------------------------ ratings

    /// @inheritdoc IBazaarRegistry
    function rateChannel(
        ServiceKey calldata key,
        bytes32 offerHash,
        ChannelPayment calldata payment,
        Opinion calldata opinion
    ) external {
        require(isChannelContract(payment.channels), InvalidChannelContract(payment.channels));
        ISessionChannels.ChannelConfig calldata config = payment.config;
        bytes32 channelId = MandateTypes.channelIdAt(payment.channels, config);
        uint128 claimed = payment.claimed;
        (, uint128 totalClaimed) = ISessionChannels(payment.channels).channels(channelId);
        require(claimed <= totalClaimed, NotClaimed(channelId, claimed, totalClaimed));
        uint256 rated = ratedUpTo[channelId];
        require(claimed > rated, AlreadyRated(channelId, claimed, rated));
        ratedUpTo[channelId] = claimed;

        Payment memory paid = Payment({
            source: channelId,
            rater: config.payer,
            voucherKey: config.payerAuthorizer,
            payTo: config.receiver,
            token: config.token,
            amount: uint128(claimed - rated),
            claimed: claimed
        });
        _rate(key, offerHash, paid, opinion);
    }

    /// @inheritdoc IBazaarRegistry
    function rateJob(ServiceKey calldata key, bytes32 offerHash, uint256 jobId, Opinion calldata opinion) external {
        Payment memory paid;
        bool terminal;
        require(jobs != address(0), JobNotPaid(jobId));
        (paid.rater, paid.payTo, paid.token, paid.amount, terminal) = IJobOutcomes(jobs).jobOutcome(jobId);
        require(terminal && paid.amount != 0, JobNotPaid(jobId));
        (paid.source, paid.claimed) = (jobSource(jobId), paid.amount);
        uint256 rated = ratedUpTo[paid.source];
        require(rated == 0, AlreadyRated(paid.source, paid.amount, rated));
        ratedUpTo[paid.source] = paid.amount;
        _rate(key, offerHash, paid, opinion);
    }

    /// @dev The caller has made sure of the payment, and that it counts this once.
    function _rate(ServiceKey calldata key, bytes32 offerHash, Payment memory paid, Opinion calldata opinion) private {
        require(opinion.score <= RatingLib.MAX_SCORE, InvalidScore(opinion.score));
        (bytes32 serviceId,, ServiceWord word) = _find(key);
        require(
            word.hasTerms(BazaarTypes.hashTerms(paid.payTo, paid.token, offerHash))
                || wasPaidAt[serviceId][paid.payTo][paid.token],
            NotPaidTo(serviceId, paid.payTo, paid.token)
        );
        _requireRater(key, serviceId, paid, opinion);
        require(
            _ratings[serviceId][paid.token].add(opinion.score, paid.amount), RatingOverflow(serviceId, paid.token)
        );
        emit ServiceRated(
            serviceId, paid.rater, paid.source, paid.payTo, paid.token, paid.amount, opinion.score, opinion.details
        );
        if (opinion.forward && key.agent != 0 && reputationRegistry != address(0)) {
            _forward(key.agent - 1, serviceId, paid.source, opinion);
        }
    }

    function _requireRater(
        ServiceKey calldata key,
        bytes32 serviceId,
        Payment memory paid,
        Opinion calldata opinion
    ) private view {
        _requireOther(serviceId, paid, serviceOwner(key));
        _requireOther(serviceId, paid, paid.payTo);
        if (key.agent != 0) _requireOther(serviceId, paid, _readIdentity(key.agent, IAgentIdentity.getAgentWallet.selector));
        if (opinion.signature.length == 0) {
            require(msg.sender == paid.rater, NotRater(msg.sender, paid.rater));
        } else {
            bytes32 digest = getRatingDigest(serviceId, paid.source, paid.claimed, opinion);
            _requireSignature(paid.rater, digest, opinion.deadline, opinion.signature);
        }
    }

    /// @dev A voucher key of zero is none, and so is an agent wallet of zero.
    function _requireOther(bytes32 serviceId, Payment memory paid, address self) private pure {
        bool same = paid.rater == self || (paid.voucherKey == self && self != address(0));
        require(!same, SelfRating(serviceId, self));
    }

    /// @dev Whatever that registry does, the rating stands; and a sender cannot make it fail by giving too little gas.
    function _forward(uint256 agentId, bytes32 serviceId, bytes32 source, Opinion calldata opinion) private {
        bytes memory data = abi.encodeCall(
            IAgentReputation.giveFeedback,
            (agentId, int128(uint128(opinion.score)), 0, "starred", "tallystick", "", "", opinion.details)
        );
        (bool accepted,) = BoundedCall.tryCall(reputationRegistry, FORWARD_GAS, data);
        emit RatingForwarded(serviceId, agentId, source, accepted);
    }

    // ------------------------------------------------------------------ bonds

    /// @inheritdoc IBazaarRegistry
    function bondService(bytes32 serviceId, uint128 amount) external {
        _find(serviceId);
        require(amount != 0, ZeroAmount());
        Bond storage bond = _serviceBonds[serviceId];
        bond.add(amount);
        _pull(amount);
        emit ServiceBonded(serviceId, msg.sender, amount, bond.amount);
    }

    /// @inheritdoc IBazaarRegistry
    function unbondService(ServiceKey calldata key, uint128 amount, Consent calldata consent) external {
        (bytes32 serviceId, Stored storage stored, ServiceWord word) = _find(key);
        address owner = serviceOwner(key);
        if (_isSigned(owner, consent)) {
            bytes32 digest = getUnbondDigest(serviceId, word.revision(), amount, consent.deadline);
            _requireSignature(owner, digest, consent.deadline, consent.signature);
        }
        word = word.revised();
        stored.word = word;
        uint40 withdrawableAt = _serviceBonds[serviceId].ask(amount, BOND_DELAY);
        emit ServiceUnbonding(serviceId, owner, amount, withdrawableAt, word.revision());
    }

    /// @inheritdoc IBazaarRegistry
    function withdrawServiceBond(ServiceKey calldata key) external {
        bytes32 serviceId = getServiceId(key);
        address owner = serviceOwner(key);
        Bond storage bond = _serviceBonds[serviceId];
        uint128 amount = bond.take();
        emit ServiceBondWithdrawn(serviceId, owner, amount, bond.amount);
        IERC20(bondToken).safeTransfer(owner, amount);
    }

    /// @inheritdoc IBazaarRegistry
    function registerFacilitator(string calldata endpoint, bytes32 contentHash, uint128 bond) external {
        _requireUri(endpoint);
        Bond storage mine = _facilitators[msg.sender];
        mine.add(bond);
        mine.active = true;
        uint128 standing = mine.standing();
        require(standing >= facilitatorBond, BondTooSmall(standing, facilitatorBond));
        emit FacilitatorRegistered(msg.sender, endpoint, contentHash, standing);
        if (bond != 0) _pull(bond);
    }

    /// @inheritdoc IBazaarRegistry
    function unbondFacilitator(uint128 amount) external {
        Bond storage mine = _facilitators[msg.sender];
        require(mine.active, NotFacilitator(msg.sender));
        uint40 withdrawableAt = mine.ask(amount, BOND_DELAY);
        uint128 standing = mine.standing();
        require(standing == 0 || standing >= facilitatorBond, BondTooSmall(standing, facilitatorBond));
        mine.active = standing != 0;
        emit FacilitatorUnbonding(msg.sender, amount, withdrawableAt, standing != 0);
    }

    /// @inheritdoc IBazaarRegistry
    function withdrawFacilitatorBond() external {
        Bond storage mine = _facilitators[msg.sender];
        uint128 amount = mine.take();
        emit FacilitatorBondWithdrawn(msg.sender, amount, mine.amount);
        IERC20(bondToken).safeTransfer(msg.sender, amount);
    }

    function _pull(uint128 amount) private {
        IERC20 token = IERC20(bondToken);
        uint256 expected = token.balanceOf(address(this)) + amount;
        token.safeTransferFrom(msg.sender, address(this), amount);
        uint256 balance = token.balanceOf(address(this));
        require(balance == expected, WrongTokenBalance(balance, expected));
    }

    // ------------------------------------------------------------------ consent

    /// @return True when the caller has to check a signature; the sender need not be the owner then.
    function _isSigned(address owner, Consent calldata consent) private view returns (bool) {
        if (consent.signature.length != 0) return true;
        require(msg.sender == owner, NotOwner(msg.sender, owner));
        return false;
    }

    /// @dev ECDSA for accounts without code, ERC-1271 for those with (wallets, EIP-7702 accounts).
    function _requireSignature(address signer, bytes32 digest, uint256 deadline, bytes calldata signature) private view {
        require(block.timestamp <= deadline, SignatureExpired(deadline, block.timestamp));
        require(SignatureChecker.isValidSignatureNowCalldata(signer, digest, signature), InvalidSignature(signer));
    }

    /// @dev Asks the identity registry for an address of the agent `agent - 1`; two words are all that is read of its answer.
    function _readIdentity(uint256 agent, bytes4 selector) private view returns (address account) {
        address registry = identityRegistry;
        bool answered;
        uint256 word;
        unchecked {
            bytes memory data = abi.encodeWithSelector(selector, agent - 1);
            assembly ("memory-safe") {
                answered := staticcall(gas(), registry, add(data, 0x20), mload(data), 0x00, 0x20)
                answered := and(answered, gt(returndatasize(), 0x1f))
                word := mload(0x00)
            }
            require(answered && word >> 160 == 0, UnknownIdentity(agent - 1));
        }
        account = address(uint160(word));
    }

    // ------------------------------------------------------------------ views

    /// @inheritdoc IBazaarRegistry
    function serviceOwner(ServiceKey calldata key) public view returns (address owner) {
        require((key.agent == 0) != (key.owner == address(0)), InvalidKey(key.agent, key.owner));
        if (key.agent == 0) return key.owner;
        owner = _readIdentity(key.agent, IAgentIdentity.ownerOf.selector);
        require(owner != address(0), UnknownIdentity(key.agent - 1));
    }

    /// @inheritdoc IBazaarRegistry
    function services(bytes32 serviceId) external view returns (ServiceState memory) {
        return _services[serviceId].word.unpack();
    }

    /// @inheritdoc IBazaarRegistry
    function isCurrent(bytes32 serviceId, Terms calldata terms) external view returns (bool) {
        return _services[serviceId].word.hasTerms(BazaarTypes.hashTerms(terms));
    }

    /// @inheritdoc IBazaarRegistry
    function isCurrentRef(bytes32 serviceId, TermsRef calldata terms) external view returns (bool) {
        return _services[serviceId].word.hasTerms(BazaarTypes.hashRef(terms));
    }

    /// @inheritdoc IBazaarRegistry
    function ratings(bytes32 serviceId, address token) external view returns (RatingTotals memory) {
        return _ratings[serviceId][token].read();
    }

    /// @inheritdoc IBazaarRegistry
    function serviceBonds(bytes32 serviceId) external view returns (Bond memory) {
        return _serviceBonds[serviceId];
    }

    /// @inheritdoc IBazaarRegistry
    function facilitators(address facilitator) external view returns (Bond memory) {
        return _facilitators[facilitator];
    }

    /// @inheritdoc IBazaarRegistry
    function isReceiptProven(bytes32 receiptHash, bytes32 receiptsRoot, bytes32[] calldata proof)
        external
        pure
        returns (bool)
    {
        bytes32 leaf = keccak256(abi.encode(keccak256(abi.encode(receiptHash))));
        return MerkleProof.processProofCalldata(proof, leaf) == receiptsRoot;
    }

    /// @inheritdoc IBazaarRegistry
    function isChannelContract(address account) public view returns (bool) {
        return account == sessionChannels || account == publishedChannels;
    }

    /// @inheritdoc IBazaarRegistry
    function getServiceId(ServiceKey calldata key) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(SERVICE_TYPEHASH, key.agent, key.owner, key.salt)));
    }

    /// @inheritdoc IBazaarRegistry
    function getOfferHash(Offer calldata offer) external pure returns (bytes32) {
        return BazaarTypes.hashOffer(offer);
    }

    /// @inheritdoc IBazaarRegistry
    function jobSource(uint256 jobId) public view returns (bytes32) {
        return keccak256(abi.encode(block.chainid, jobs, jobId));
    }

    /// @inheritdoc IBazaarRegistry
    function getListDigest(bytes32 serviceId, Terms calldata terms, bool publish, uint256 deadline)
        external
        view
        returns (bytes32)
    {
        return _listDigest(serviceId, BazaarTypes.hashTerms(terms), publish, deadline);
    }

    function _listDigest(bytes32 serviceId, bytes32 termsHash, bool publish, uint256 deadline)
        private
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(keccak256(abi.encode(LIST_TYPEHASH, serviceId, termsHash, publish, deadline)));
    }

    /// @inheritdoc IBazaarRegistry
    function getUpdateDigest(bytes32 serviceId, uint24 revision, Terms calldata terms, uint256 deadline)
        external
        view
        returns (bytes32)
    {
        return _updateDigest(serviceId, revision, BazaarTypes.hashTerms(terms), deadline);
    }

    function _updateDigest(bytes32 serviceId, uint24 revision, bytes32 termsHash, uint256 deadline)
        private
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(keccak256(abi.encode(UPDATE_TYPEHASH, serviceId, revision, termsHash, deadline)));
    }

    /// @inheritdoc IBazaarRegistry
    function getStatusDigest(bytes32 serviceId, uint24 revision, Status status, uint256 deadline)
        public
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(keccak256(abi.encode(STATUS_TYPEHASH, serviceId, revision, status, deadline)));
    }

    /// @inheritdoc IBazaarRegistry
    function getUnbondDigest(bytes32 serviceId, uint24 revision, uint128 amount, uint256 deadline)
        public
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(keccak256(abi.encode(UNBOND_TYPEHASH, serviceId, revision, amount, deadline)));
    }

    /// @inheritdoc IBazaarRegistry
    function getRatingDigest(bytes32 serviceId, bytes32 source, uint128 claimed, Opinion calldata opinion)
        public
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(BazaarTypes.hashRating(serviceId, source, claimed, opinion));
    }
}
